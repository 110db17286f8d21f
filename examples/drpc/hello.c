/*
 * hello: one call over an agent's socket, in C without a library.
 *
 *     cc -o hello hello.c
 *     ./hello /run/cairn/agent.sock world
 *
 * A packet is one protobuf message: fields of a key (number * 8 + type) and a
 * value, type 0 a varint, type 2 a length and bytes. With the name "world" the
 * two packets are, which "hello -x SOCKET NAME" prints:
 *
 *     call   1801220e0a0c66726f6d204320776f726c64288827
 *     answer 08011a140a1248656c6c6f2066726f6d204320776f726c64
 *
 *     call:   3 sequence, 4 body { 1 name }, 5 milliseconds to wait;
 *             1 module and 2 method are 0 here and left out
 *     answer: 1 sequence, 2 status, 3 body { 1 greeting }, 4 text
 *
 * A packet holds 131072 bytes at most; longer messages go in frames, for which
 * see DESIGN.md of internal/drpc.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_PACKET 131072

struct bytes {
	uint8_t *at;
	size_t len;
};

/* Encoding: each function appends to b, which must have room. */

static void put_varint(struct bytes *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		b->at[b->len++] = (uint8_t)(v | 0x80);
	b->at[b->len++] = (uint8_t)v;
}

static void put_number(struct bytes *b, int field, uint64_t v)
{
	put_varint(b, (uint64_t)field << 3);
	put_varint(b, v);
}

static void put_bytes(struct bytes *b, int field, const void *data, size_t len)
{
	put_varint(b, (uint64_t)field << 3 | 2);
	put_varint(b, len);
	memcpy(b->at + b->len, data, len);
	b->len += len;
}

/* Decoding: each function takes from the front of b; 0 means that b is broken. */

static int get_varint(struct bytes *b, uint64_t *v)
{
	*v = 0;
	for (int shift = 0; shift < 64 && b->len > 0; shift += 7) {
		uint8_t c = *b->at++;
		b->len--;
		*v |= (uint64_t)(c & 0x7f) << shift;
		if (c < 0x80)
			return 1;
	}
	return 0;
}

struct field {
	int number;
	uint64_t value;    /* of type 0 */
	struct bytes data; /* of the others */
};

static int get_field(struct bytes *b, struct field *f)
{
	uint64_t key, len;

	memset(f, 0, sizeof *f);
	if (!get_varint(b, &key))
		return 0;
	f->number = (int)(key >> 3);
	switch (key & 7) {
	case 0:
		return get_varint(b, &f->value);
	case 1:
		len = 8;
		break;
	case 2:
		if (!get_varint(b, &len))
			return 0;
		break;
	case 5:
		len = 4;
		break;
	default:
		return 0;
	}
	if (len > b->len)
		return 0;
	f->data.at = b->at;
	f->data.len = (size_t)len;
	b->at += len;
	b->len -= (size_t)len;
	return 1;
}

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof addr.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void print_hex(const char *what, const uint8_t *at, size_t len)
{
	printf("%s ", what);
	while (len-- > 0)
		printf("%02x", *at++);
	printf("\n");
}

/* read_answer prints the greeting in an answer to the call with this sequence. */
static int read_answer(struct bytes answer, uint64_t sequence)
{
	struct bytes body = {0}, text = {0};
	struct field f;
	uint64_t seen = 0, status = 0;

	while (answer.len > 0) {
		if (!get_field(&answer, &f)) {
			fprintf(stderr, "hello: the packet is no answer\n");
			return 1;
		}
		switch (f.number) {
		case 1: seen = f.value; break;
		case 2: status = f.value; break;
		case 3: body = f.data; break;
		case 4: text = f.data; break;
		}
	}
	if (status != 0) {
		fprintf(stderr, "hello: status %d: %.*s\n", (int)status, (int)text.len, (const char *)text.at);
		return 1;
	}
	if (seen != sequence) {
		fprintf(stderr, "hello: the answer belongs to another call\n");
		return 1;
	}
	while (body.len > 0 && get_field(&body, &f))
		if (f.number == 1)
			printf("%.*s\n", (int)f.data.len, (const char *)f.data.at);
	return 0;
}

int main(int argc, char **argv)
{
	static uint8_t payload_room[512], call_room[1024], answer_room[MAX_PACKET];
	struct bytes payload = {payload_room, 0}, call = {call_room, 0}, answer = {answer_room, 0};
	char name[256];
	int hex = argc > 1 && strcmp(argv[1], "-x") == 0;
	ssize_t n;
	int fd;

	argv += hex;
	if (argc - hex != 3 || (size_t)snprintf(name, sizeof name, "from C %s", argv[2]) >= sizeof name) {
		fprintf(stderr, "usage: hello [-x] SOCKET NAME\n");
		return 2;
	}
	put_bytes(&payload, 1, name, strlen(name));
	put_number(&call, 3, 1);
	put_bytes(&call, 4, payload.at, payload.len);
	put_number(&call, 5, 5000);

	fd = connect_to(argv[1]);
	if (fd < 0) {
		fprintf(stderr, "hello: connect to %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	if (send(fd, call.at, call.len, 0) < 0 || (n = recv(fd, answer.at, MAX_PACKET, 0)) < 0) {
		fprintf(stderr, "hello: %s\n", strerror(errno));
		return 1;
	}
	close(fd);
	answer.len = (size_t)n;
	if (hex) {
		print_hex("call", call.at, call.len);
		print_hex("answer", answer.at, answer.len);
	}
	return read_answer(answer, 1);
}
