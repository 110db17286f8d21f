package acl

// Workload names a task that calls with its own identity.
type Workload struct {
	Namespace, JobID string
	// Group and Task are "" for an identity that is not of a task.
	Group, Task string
}

// workload holds the paths of variables that a workload reads without a policy.
type workload struct {
	namespace string
	paths     []string
}

// WithWorkload returns a copy of a that also grants what every workload may do
// unasked: read the variables at nomad/jobs and at the paths of its own job,
// group and task, and list the services of its namespace. nil counts as DenyAll.
func (a *ACL) WithWorkload(w Workload) *ACL {
	c := ACL{}
	if a != nil {
		c = *a
	}
	c.workload = &workload{namespace: w.Namespace, paths: []string{"nomad/jobs"}}
	path := "nomad/jobs"
	for _, part := range []string{w.JobID, w.Group, w.Task} {
		if part == "" {
			break
		}
		path += "/" + part
		c.workload.paths = append(c.workload.paths, path)
	}
	return &c
}

func (w *workload) owns(ns, path string) bool {
	if w == nil || w.namespace != ns {
		return false
	}
	for _, p := range w.paths {
		if p == path {
			return true
		}
	}
	return false
}
