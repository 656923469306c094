/* Records from user space: a program takes what is in a user ring buffer.
 *
 * expect: `receive` adds the first 8 bytes of each record to `sum`, counts records in `taken` and shorter ones in `short_ones`, and
 * expect: answers how many there were. */
#include "bpf.h"

struct bpf_dynptr;

static long (*const bpf_user_ringbuf_drain)(void *map, void *callback, void *context,
					    __u64 flags) = (void *)BPF_FUNC_user_ringbuf_drain;
static long (*const bpf_dynptr_read)(void *to, __u32 len, const struct bpf_dynptr *from, __u32 offset,
				     __u64 flags) = (void *)BPF_FUNC_dynptr_read;

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} commands SEC(".maps");

__u64 sum;
__u64 taken;
__u64 short_ones;

static long take(struct bpf_dynptr *record, void *context)
{
	__u64 number;

	(void)context;
	taken++;
	if (bpf_dynptr_read(&number, sizeof(number), record, 0, 0)) {
		short_ones++;
		return 0;
	}
	sum += number;
	return 0;
}

SEC("tc")
int receive(struct __sk_buff *skb)
{
	(void)skb;
	return bpf_user_ringbuf_drain(&commands, take, 0, 0);
}

LICENSE("GPL");
