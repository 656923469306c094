/* Programs at many places of code in one link, and at probes that an author left in a file, which look up where the arguments are
 * as libbpf's header for programs does.
 * expect: accepted by the kernel; what runs when, `crates/twinbpf/tests/attach/probes.rs` says */
#include "bpf.h"

#define MOST_ARGUMENTS 12

static __u64 (*const bpf_get_attach_cookie)(void *context) = (void *)BPF_FUNC_get_attach_cookie;
static long (*const bpf_probe_read_kernel)(void *to, __u32 size, const void *from) = (void *)BPF_FUNC_probe_read_kernel;
static long (*const bpf_probe_read_user)(void *to, __u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user;
static __u64 (*const bpf_get_current_pid_tgid)(void) = (void *)BPF_FUNC_get_current_pid_tgid;

/* Only this process counts where a hook sees all of them. */
volatile const __u32 process = 0;

__u64 many_runs = 0;
__u64 many_cookies = 0;
__u64 session_runs = 0;
__u64 call_runs = 0;
__u64 kernel_runs = 0;
__u64 kernel_session_runs = 0;
__u64 probe_runs = 0;
__u64 probe_cookie = 0;
__u64 probe_count = 0;
__u64 first_arguments = 0;
__u64 arguments[MOST_ARGUMENTS] = {};

struct argument {
	__u64 value;
	__u8 sort;
	__u8 nothing;
	__u16 indexed;
	__u16 nothing_either;
	__s16 base;
	__u8 is_signed;
	__u8 cut_bits;
};

struct probe {
	struct argument arguments[MOST_ARGUMENTS];
	__u64 cookie;
	__s16 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, int);
	__type(value, struct probe);
} __bpf_usdt_specs SEC(".maps");

static __attribute__((always_inline)) void count(__u64 *runs)
{
	__sync_fetch_and_add(runs, 1);
}

static __attribute__((always_inline)) int is_ours(void)
{
	return bpf_get_current_pid_tgid() >> 32 == process;
}

static __attribute__((always_inline)) __u64 saved_register(void *context, __s64 offset)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (char *)context + offset);
	return value;
}

static __attribute__((always_inline)) __u64 argument(void *context, const struct argument *from)
{
	__u64 value = from->value;
	__u32 indexed = from->indexed;
	__u64 address;

	if (from->sort == 1)
		value = saved_register(context, from->base);
	if (from->sort >= 2) {
		address = saved_register(context, from->base) + value;
		if (from->sort == 3)
			address += saved_register(context, indexed & 0xfff) << (indexed >> 12 & 3);
		value = 0;
		bpf_probe_read_user(&value, sizeof(value), (void *)address);
	}
	value <<= from->cut_bits & 63;
	if (from->is_signed)
		return (__u64)((__s64)value >> (from->cut_bits & 63));
	return value >> (from->cut_bits & 63);
}

SEC("usdt")
int probe(void *context)
{
	__u32 key = (__u32)bpf_get_attach_cookie(context);
	const struct probe *found = bpf_map_lookup_elem(&__bpf_usdt_specs, &key);

	if (!found)
		return 0;
	count(&probe_runs);
	probe_cookie = found->cookie;
	probe_count = (__u64)found->count;
	for (int i = 0; i < MOST_ARGUMENTS; i++)
		arguments[i] = argument(context, &found->arguments[i]);
	first_arguments += arguments[0];
	return 0;
}

SEC("uprobe.multi")
int many(void *context)
{
	count(&many_runs);
	many_cookies += bpf_get_attach_cookie(context);
	return 0;
}

SEC("uprobe.session")
int session(void *context)
{
	(void)context;
	count(&session_runs);
	return 0;
}

SEC("ksyscall/nanosleep")
int call(void *context)
{
	(void)context;
	if (is_ours())
		count(&call_runs);
	return 0;
}

SEC("kprobe.multi/do_nano?leep")
int kernel_many(void *context)
{
	(void)context;
	if (is_ours())
		count(&kernel_runs);
	return 0;
}

SEC("kprobe.session/do_nanosleep")
int kernel_session(void *context)
{
	(void)context;
	if (is_ours())
		count(&kernel_session_runs);
	return 0;
}

LICENSE("GPL");
