package command

// systemGC deletes what would be deleted in time.
type systemGC struct{}

func (*systemGC) about() about {
	return about{
		synopsis: "run garbage collection now",
		usage:    "[options]",
		text:     "Deletes at once what the leader would delete in time: tokens that have expired and nodes that are down, for however short a while. A node that comes back registers again.",
		examples: [][2]string{{"Forget the nodes that are down", "cairn system gc"}},
		groups:   withAgent,
	}
}

func (*systemGC) flags(*flags) {}

func (*systemGC) run(s *session, _ []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	if _, err := client.Raw().Write("/v1/system/gc", nil, nil, s.write()); err != nil {
		return failed("collecting garbage", err)
	}
	s.say("expired tokens and nodes that are down are deleted")
	return nil
}
