package agent

import "github.com/cairn-project/cairn/nomad/structs"

func authorityRoutes() []route {
	return []route{
		read(doc{methods: "GET", pattern: "/v1/operator/authorities", rpc: "Authority.List",
			summary: "List the certificate authorities of the region, the oldest first."},
			asIs[structs.AuthorityListRequest],
			func(_ *request, p *structs.AuthorityListResponse) ([]*structs.AuthorityStub, error) {
				return list(p.Authorities), nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/operator/authority/rotate", rpc: "Authority.Rotate",
			summary: "Make an authority that takes the place of the one that signs, once every agent trusts it.", status: []int{409}},
			asIs[structs.AuthorityRotateRequest],
			func(_ *request, p *structs.AuthorityRotateResponse) (*structs.AuthorityStub, error) {
				return p.Authority, nil
			}),
	}
}
