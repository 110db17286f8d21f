package archtest

// modulePath is the path of the module whose rules these are.
const modulePath = "github.com/cairn-project/cairn"

// row is one package of the layer table.
type row struct {
	// layer is the floor: imports go to lower floors, or to rows above on the same floor.
	layer int
	// dir is the package's directory, relative to the module.
	dir string
}

// top is the floor of what stands outside of the product: tools and process
// tests. It may import everything, and nothing below may import it.
const top = 7

// layers is the table of packages, in the order in which they rest on each
// other. A package that is not here fails: whoever adds one says where it lives.
var layers = []row{
	{0, "internal/errs"},
	{0, "internal/msgp"},
	{0, "internal/limit"},
	{0, "internal/wire"},
	{0, "internal/tlsconf"},
	{0, "internal/jointoken"},
	{0, "internal/mux"},
	{0, "internal/grpcport"},
	{0, "internal/raftnet"},
	{0, "internal/pool"},
	{0, "internal/presence"},
	{0, "internal/h1"},
	{0, "internal/proxyproto"},
	{0, "internal/drpc"},
	{0, "drpc"},
	{0, "drpc/agentpb"},
	{0, "drpc/provider"},
	{0, "internal/jsonrpc"},
	{1, "acl"},
	{1, "nomad/structs"},
	{2, "nomad/state"},
	{2, "nomad/stream"},
	{2, "nomad/archive"},
	{2, "nomad/keyring"},
	{2, "nomad/router"},
	{2, "nomad/nodelink"},
	{2, "nomad/autopilot"},
	{3, "nomad/auth"},
	{3, "nomad/enroll"},
	{4, "nomad"},
	{4, "client"},
	{5, "command/agent"},
	{5, "command"},
	{6, "cmd/server"},
	{top, "bench"},
	{top, "bench/cluster"},
	{top, "bench/grpcc"},
	{top, "bench/httpc"},
	{top, "bench/load"},
	{top, "bench/cmd/cairnbench"},
	{top, "e2e"},
	{top, "internal/archtest"},
	{top, "nomad/nomadtest"},
	{top, "internal/testenv"},
}

// testPackages may be imported by test files of every floor, and by no other file.
var testPackages = map[string]bool{"nomad/nomadtest": true, "internal/testenv": true}

// only lists packages that may import nothing of ours but what stands here.
var only = map[string][]string{
	"nomad/structs": {"internal/errs", "internal/msgp"},
}

// never lists imports that the floors would allow and that are wrong all the same.
var never = map[string][]string{
	"command/agent": {"nomad/state"},
}

// forbiddenNames are package names that say nothing about what is inside.
var forbiddenNames = map[string]bool{
	"util": true, "utils": true, "common": true, "helper": true, "helpers": true,
	"base": true, "types": true, "misc": true, "lib": true, "shared": true,
}

// The sizes above which a file, a function, a signature or an interface fails.
// Tests are exempt.
const (
	maxFileLines        = 600
	maxFuncLines        = 70
	maxParams           = 6
	maxResults          = 4
	maxInterfaceMethods = 5
)
