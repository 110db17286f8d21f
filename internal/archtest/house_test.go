package archtest

import (
	"sync"
	"testing"
)

// house is the source of this repository, parsed once.
var house = sync.OnceValues(func() (*tree, error) { return load("../..") })

// hold fails for every breach of a rule in this repository.
func hold(t *testing.T, rule func(*tree) []problem) {
	t.Helper()
	src, err := house()
	if err != nil {
		t.Fatal(err)
	}
	if len(src.files) < 10 {
		t.Fatalf("only %d Go files found: the rules would hold for nothing", len(src.files))
	}
	for _, p := range rule(src) {
		t.Errorf("%s", p)
	}
}

// The rules of the house, on the house.

func TestImportsPointDown(t *testing.T)        { hold(t, checkImports) }
func TestEveryPackageIsPlaced(t *testing.T)    { hold(t, checkPackages) }
func TestExportedNamesHaveDocs(t *testing.T)   { hold(t, checkDocs) }
func TestNoForbiddenWords(t *testing.T)        { hold(t, checkWords) }
func TestNoSkippedTests(t *testing.T)          { hold(t, checkSkips) }
func TestNoCommentedOutCode(t *testing.T)      { hold(t, checkDeadCode) }
func TestLinksResolve(t *testing.T)            { hold(t, checkLinks) }
func TestDocumentedCommandsExist(t *testing.T) { hold(t, checkCommands) }

func TestDocumentedMetricsExist(t *testing.T) { hold(t, checkMetrics) }

func TestConfigurationKeysAreDocumented(t *testing.T) { hold(t, checkConfigDocs) }

func TestSizes(t *testing.T) {
	hold(t, func(src *tree) []problem { return checkSizes(src, exceptions) })
}

// The steps of CHECKLIST.md, each by the test that names what was forgotten.

func TestChecklistNamesRealTests(t *testing.T)       { hold(t, checkChecklist) }
func TestEveryRequestTypeHasAStruct(t *testing.T)    { hold(t, checkRequestStructs) }
func TestEveryRequestTypeHasAnFSMCase(t *testing.T)  { hold(t, checkFSMCases) }
func TestEveryStateFileHasCompanions(t *testing.T)   { hold(t, checkStateFiles) }
func TestEveryEndpointMethodIsDeclared(t *testing.T) { hold(t, checkEndpointMethods) }
func TestEveryEndpointIsRegistered(t *testing.T)     { hold(t, checkRegistered) }

func TestEveryRPCHasARouteOrIsInternal(t *testing.T) {
	hold(t, func(src *tree) []problem { return checkRoutes(src, internalOnly) })
}

func TestManagementIsDelegable(t *testing.T) {
	hold(t, func(src *tree) []problem { return checkManagement(src, managementAsked) })
}

func TestEveryCapabilityHasAnEffect(t *testing.T) {
	hold(t, func(src *tree) []problem { return checkCapabilities(src, unasked) })
}
