package command

import (
	"io"
)

// operatorMetrics prints what the agent measures.
type operatorMetrics struct {
	format string
	pretty bool
}

func (*operatorMetrics) about() about {
	return about{
		synopsis: "fetch agent metrics",
		usage:    "[options]",
		text:     "Prints the metrics of one agent as they are now. It works without a leader.",
		examples: [][2]string{
			{"Read them", "cairn operator metrics -pretty"},
			{"As Prometheus scrapes them", "cairn operator metrics -format prometheus"},
			{"Take out one gauge", "cairn operator metrics -t '{{range .Gauges}}{{.Name}} {{.Value}}{{\"\\n\"}}{{end}}'"},
		},
		groups: withAgent | withData,
	}
}

func (c *operatorMetrics) flags(f *flags) {
	f.text(&c.format, "format", "format", "Format of the answer, "+oneOfValues("json", "prometheus")+".", oneOf("json", "prometheus"))
	f.boolean(&c.pretty, "pretty", "Indent the JSON.")
}

func (c *operatorMetrics) run(s *session, _ []string) error {
	switch c.format {
	case "", "json":
	case "prometheus":
		if s.json || s.template != "" {
			return usagef("-format prometheus cannot be combined with -json or -t")
		}
	default:
		return usagef("-format: %q is not %s", c.format, oneOfValues("json", "prometheus"))
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	path := "/v1/metrics"
	if c.format == "prometheus" {
		path += "?format=prometheus"
	}
	body, err := client.Raw().Response(path, s.query())
	if err != nil {
		return failed("reading metrics", err)
	}
	defer body.Close()
	if s.template == "" && !s.json && !c.pretty {
		_, err = io.Copy(s.stdout, body)
		return err
	}
	v, err := decoded(body)
	if err != nil {
		return failed("decoding metrics", err)
	}
	return s.show(v, func() { err = s.printJSON(v) })
}
