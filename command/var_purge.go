package command

// varPurge deletes a variable.
type varPurge struct {
	f          *flags
	checkIndex uint64
}

func (*varPurge) about() about {
	return about{
		synopsis: "delete a variable for good",
		usage:    "[options] <path>",
		text:     "Deletes a variable. Nothing happens when there is none.",
		examples: [][2]string{
			{"Delete a variable", "cairn var purge app/db"},
			{"Only if nobody changed it since", "cairn var purge -check-index 42 app/db"},
		},
		exits: []exit{{exitConflict, "conflict: it changed meanwhile, or somebody holds its lock"}},
		min:   1, max: 1,
		groups: withAgent | withNamespace,
		args:   variablePaths,
	}
}

func (c *varPurge) flags(f *flags) {
	c.f = f
	f.number(&c.checkIndex, "check-index", "index", "Delete only if this is the variable's modify index.")
}

func (c *varPurge) run(s *session, args []string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	if c.f.given("check-index") {
		_, err = client.Variables().CheckedDelete(args[0], c.checkIndex, s.write())
	} else {
		_, err = client.Variables().Delete(args[0], s.write())
	}
	if err != nil {
		return variableFailure("deleting", args[0], err)
	}
	s.say("deleted variable %s", clean(args[0]))
	return nil
}
