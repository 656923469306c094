// Programs for a hook point of a host application: contexts, data and functions that no kernel has.
#include "bpf.h"

#define KSYM __attribute__((section(".ksyms")))
#define WEAK __attribute__((weak))

struct request {
	__u32 client;
	__u32 verdict;
	const __u8 *body;
	const __u8 *body_end;
};

extern __u32 host_limit(__u32 client) KSYM;
extern void host_log(const char *text, __u32 length) KSYM;
extern __u64 host_absent(__u64 number) KSYM WEAK;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} bytes_by_client SEC(".maps");

// Counts the bytes of each client and refuses those that are over the host's limit.
SEC("request/meter")
int meter(struct request *request)
{
	__u32 client = request->client;
	__u64 length = request->body_end - request->body;
	__u64 *known = bpf_map_lookup_elem(&bytes_by_client, &client);
	__u64 total = known ? *known + length : length;
	bpf_map_update_elem(&bytes_by_client, &client, &total, BPF_ANY);
	request->verdict = total > host_limit(client);
	request->client = 0;
	return request->verdict;
}

// Logs the first line and asks for what is not there.
SEC("request/first_line")
int first_line(struct request *request)
{
	char line[16] = {};
	const __u8 *at = request->body;
	__u32 length = 0;
	for (; length < sizeof(line); length++, at++) {
		if (at + 1 > request->body_end || *at == '\n')
			break;
		line[length] = *at;
	}
	host_log(line, length);
	if (host_absent)
		return host_absent(length);
	return length;
}

// Reads behind the data.
SEC("request/careless")
int careless(struct request *request)
{
	return *request->body_end;
}

SEC("elsewhere")
int not_ours(struct request *request)
{
	return request->client;
}

LICENSE("GPL");
