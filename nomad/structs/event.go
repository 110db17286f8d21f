package structs

// Topic names a stream of events.
type Topic string

// The topics. NoEvents is said by tables whose changes nobody may watch.
const (
	NoEvents            Topic = ""
	TopicAll            Topic = "*"
	TopicNamespace      Topic = "Namespace"
	TopicNode           Topic = "Node"
	TopicNodePool       Topic = "NodePool"
	TopicVariable       Topic = "Variable"
	TopicACLPolicy      Topic = "ACLPolicy"
	TopicACLToken       Topic = "ACLToken"
	TopicACLRole        Topic = "ACLRole"
	TopicACLAuthMethod  Topic = "ACLAuthMethod"
	TopicACLBindingRule Topic = "ACLBindingRule"
	TopicWorkloadEvent  Topic = "WorkloadEvent"
	TopicOperation      Topic = "Operation"
)

// Event is one change of one object. EventRecord is how it shows.
type Event struct {
	// Topic and Type say what changed and by which cause.
	Topic Topic
	Type  string
	// Key is the ID of the object within its namespace.
	Key string
	// Namespace is "" for objects outside of namespaces.
	Namespace string `json:",omitempty"`
	// FilterKeys are further keys that a subscriber may ask for.
	FilterKeys []string
	// Index is the logical index of the write.
	Index uint64
	// Payload is the object after the change, or before it when it was deleted, as
	// an EventPayload. Subscribers must not mutate it.
	Payload any
}

// EventPayload is an object that events show.
type EventPayload interface {
	// EventObject returns the name under which the object is in the payload, and what
	// stands there in JSON. It must hold no secret.
	EventObject() (name string, object any)
}

// EventRecord is an event as subscribers get it.
type EventRecord struct {
	Topic     Topic
	Type      string
	Key       string
	Namespace string
	// FilterKeys are further keys that the event was selected by, null for none.
	FilterKeys []string
	// Index is the index of the write, as X-Nomad-Index had it.
	Index uint64
	// Payload holds the object under the name of its kind.
	Payload map[string]any
}

// Record returns the event as subscribers get it.
func (e *Event) Record() EventRecord {
	r := EventRecord{Topic: e.Topic, Type: e.Type, Key: e.Key, Namespace: e.Namespace, FilterKeys: e.FilterKeys, Index: e.Index}
	if p, ok := e.Payload.(EventPayload); ok {
		name, object := p.EventObject()
		r.Payload = map[string]any{name: object}
	}
	return r
}

// EventObject implements EventPayload.
func (n *Namespace) EventObject() (string, any) { return "Namespace", n }

// EventObject implements EventPayload.
func (n *Node) EventObject() (string, any) {
	n = n.WithoutSecret()
	return "Node", struct {
		*Node
		Drain bool
	}{n, n.Draining()}
}

// EventObject implements EventPayload. Clients of the public API read the duration
// as a number here.
func (n *NodePool) EventObject() (string, any) { return "NodePool", (*plainNodePool)(n) }

// EventObject implements EventPayload.
func (m *VariableMetadata) EventObject() (string, any) { return "Variable", m }

// EventObject implements EventPayload.
func (p *ACLPolicy) EventObject() (string, any) { return "ACLPolicy", p }

// EventObject implements EventPayload.
func (t *ACLToken) EventObject() (string, any) { return "ACLToken", t.Redacted() }

// EventObject implements EventPayload.
func (r *ACLRole) EventObject() (string, any) { return "ACLRole", r }

// EventObject implements EventPayload. The name is that of the public API.
func (m *ACLAuthMethod) EventObject() (string, any) { return "AuthMethod", m.Redacted() }

// EventObject implements EventPayload.
func (r *ACLBindingRule) EventObject() (string, any) { return "ACLBindingRule", r }

// EventObject implements EventPayload.
func (e *WorkloadEvent) EventObject() (string, any) { return "WorkloadEvent", e }

// EventObject implements EventPayload.
func (o *Operation) EventObject() (string, any) { return "Operation", o }
