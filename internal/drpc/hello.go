package drpc

import (
	"context"

	"google.golang.org/protobuf/proto"
)

// greeting is module 0: it shows that the socket works and does nothing. An
// empty packet calls its only method, so nothing else may ever live there.
func greeting() Module {
	return Module{Name: "test", Allow: Anyone, Methods: []Method{{Name: "greeting", Handle: greet}}}
}

func greet(_ context.Context, req *Request) ([]byte, error) {
	var in Hello
	if err := Unmarshal(req.Body, &in); err != nil {
		return nil, err
	}
	return Marshal(&HelloReply{Greeting: "Hello " + in.Name})
}

// Unmarshal decodes the payload of a call. Its error is FAILED_UNMARSHAL_PAYLOAD.
func Unmarshal(body []byte, into proto.Message) error {
	if err := proto.Unmarshal(body, into); err != nil {
		return failf(Status_FAILED_UNMARSHAL_PAYLOAD, "the body is no %s: %w", into.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

// Marshal encodes an answer. Its error is FAILED_MARSHAL.
func Marshal(answer proto.Message) ([]byte, error) {
	b, err := proto.Marshal(answer)
	if err != nil {
		return nil, failf(Status_FAILED_MARSHAL, "encode a %s: %w", answer.ProtoReflect().Descriptor().Name(), err)
	}
	return b, nil
}
