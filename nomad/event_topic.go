package nomad

import (
	"maps"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// silentTopics are those of the public API whose objects this cluster does not have,
// with the right to follow them. They can be asked for and never have an event.
var silentTopics = map[structs.Topic]func(a *acl.ACL, namespace string) bool{
	"Job": readsJobs, "Evaluation": readsJobs, "Allocation": readsJobs, "Deployment": readsJobs, "Service": readsJobs, "CSIPlugin": readsJobs,
	"CSIVolume": func(a *acl.ACL, namespace string) bool {
		return a.AllowNamespaceOperation(namespace, acl.CSIReadVolume)
	},
	"HostVolume": func(a *acl.ACL, namespace string) bool {
		return a.AllowNamespaceOperation(namespace, acl.HostVolumeRead)
	},
	"Operator": func(a *acl.ACL, _ string) bool { return a.AllowOperatorRead() },
}

func readsJobs(a *acl.ACL, namespace string) bool {
	return a.AllowNamespaceOperation(namespace, acl.ReadJob)
}

// checkTopics refuses topics that do not exist.
func checkTopics(topics map[structs.Topic][]string) error {
	for topic := range topics {
		if knownTopic(topic) {
			continue
		}
		return errs.Newf(errs.Invalid, "unknown topic %q: the topics are %s and * for all", topic, topicNames())
	}
	return nil
}

func knownTopic(topic structs.Topic) bool {
	_, known := state.MayFollow(acl.DenyAll, topic, structs.AllNamespacesSentinel)
	return known || topic == structs.TopicAll || silentTopics[topic] != nil
}

// topicNames returns the topics that have events.
func topicNames() string {
	var out []string
	for _, t := range state.Topics() {
		out = append(out, string(t))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// mayFollow reports whether the caller could ever see an event of each of the topics,
// as whoever could not is refused by the list of the objects too. Of all topics
// one will do, and all that the caller may see of the others is shown.
func mayFollow(a *acl.ACL, id *auth.Identity, r *structs.EventStreamRequest) bool {
	for _, topic := range slices.Sorted(maps.Keys(r.Topics)) {
		if knownTopic(topic) && !mayFollowTopic(a, id, topic, r.RequestNamespace()) {
			return false
		}
	}
	return len(r.Topics) > 0 || mayFollowTopic(a, id, structs.TopicAll, r.RequestNamespace())
}

func mayFollowTopic(a *acl.ACL, id *auth.Identity, topic structs.Topic, namespace string) bool {
	return readsTopic(a, id, topic, namespace) || a.AllowOperatorCapability(acl.EventReadAll)
}

// readsTopic reports whether the caller could ever see an event of a topic by what it may read.
func readsTopic(a *acl.ACL, id *auth.Identity, topic structs.Topic, namespace string) bool {
	if topic == structs.TopicAll {
		return slices.ContainsFunc(state.Topics(), func(t structs.Topic) bool { return readsTopic(a, id, t, namespace) })
	}
	if silent := silentTopics[topic]; silent != nil {
		return silent(a, namespace)
	}
	may, _ := state.MayFollow(a, topic, namespace)
	return may || ownsSome(id, topic)
}

// ownsSome reports whether the caller holds something of the topic, which it may see
// without a right. Nobody in particular holds nothing of its own.
func ownsSome(id *auth.Identity, topic structs.Topic) bool {
	if id.Token != nil && id.Token.AccessorID == auth.AnonymousAccessor {
		return false
	}
	switch topic {
	case structs.TopicACLPolicy:
		return len(id.Policies) > 0
	case structs.TopicACLRole:
		return id.Token != nil && len(id.Token.Roles) > 0
	}
	return false
}

// seesEvent reports whether the caller may see an event: by the rule of the table that
// lists go by, as the holder of the policy or role, or by the right to see every event.
func seesEvent(id *auth.Identity, e *structs.Event) bool {
	if state.EventVisible(id.ACL, e) {
		return true
	}
	own := e.Topic == structs.TopicACLPolicy && id.Holds(e.Key) || e.Topic == structs.TopicACLRole && id.HoldsRole(e.Key)
	return own || id.ACL.AllowOperatorCapability(acl.EventReadAll)
}
