// Kernel functions and dynptrs: what each program answers is the same on every engine.
#include "bpf.h"

#define KSYM __attribute__((section(".ksyms")))
#define UNUSED __attribute__((unused))

struct bpf_iter_num {
	__u64 opaque[1];
} __attribute__((aligned(8)));

struct bpf_iter_bits {
	__u64 opaque[2];
} __attribute__((aligned(8)));

extern int bpf_iter_num_new(struct bpf_iter_num *iterator, int start, int end) KSYM;
extern int *bpf_iter_num_next(struct bpf_iter_num *iterator) KSYM;
extern void bpf_iter_num_destroy(struct bpf_iter_num *iterator) KSYM;
extern int bpf_iter_bits_new(struct bpf_iter_bits *iterator, const __u64 *words, __u32 count) KSYM;
extern int *bpf_iter_bits_next(struct bpf_iter_bits *iterator) KSYM;
extern void bpf_iter_bits_destroy(struct bpf_iter_bits *iterator) KSYM;
extern void bpf_rcu_read_lock(void) KSYM;
extern void bpf_rcu_read_unlock(void) KSYM;
extern void bpf_preempt_disable(void) KSYM;
extern void bpf_preempt_enable(void) KSYM;
extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *dynptr) KSYM;
extern int bpf_dynptr_from_xdp(struct xdp_md *xdp, __u64 flags, struct bpf_dynptr *dynptr) KSYM;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *dynptr, __u32 offset, void *buffer, __u32 size) KSYM;
extern void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *dynptr, __u32 offset, void *buffer, __u32 size) KSYM;
extern int bpf_dynptr_adjust(const struct bpf_dynptr *dynptr, __u32 start, __u32 end) KSYM;
extern int bpf_dynptr_clone(const struct bpf_dynptr *dynptr, struct bpf_dynptr *clone) KSYM;
extern _Bool bpf_dynptr_is_null(const struct bpf_dynptr *dynptr) KSYM;
extern _Bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *dynptr) KSYM;
extern __u32 bpf_dynptr_size(const struct bpf_dynptr *dynptr) KSYM;
extern int bpf_strcmp(const char *one, const char *other) KSYM;
extern int bpf_strlen(const char *text) KSYM;
extern int bpf_strnlen(const char *text, size_t most) KSYM;
extern int bpf_strchr(const char *text, char character) KSYM;
extern int bpf_strchrnul(const char *text, char character) KSYM;
extern int bpf_strnchr(const char *text, size_t most, char character) KSYM;
extern int bpf_strrchr(const char *text, int character) KSYM;
extern int bpf_strspn(const char *text, const char *accepted) KSYM;
extern int bpf_strcspn(const char *text, const char *refused) KSYM;
extern int bpf_strstr(const char *text, const char *part) KSYM;
extern int bpf_strnstr(const char *text, const char *part, size_t most) KSYM;

/* Of types behind pointers only kind and name count. */
struct bpf_map {
	int unused;
};
extern __s64 bpf_map_sum_elem_count(const struct bpf_map *map) KSYM;

static long (*const bpf_dynptr_from_mem)(void *data, __u32 size, __u64 flags,
                                         struct bpf_dynptr *dynptr) = (void *)BPF_FUNC_dynptr_from_mem;
static long (*const bpf_ringbuf_reserve_dynptr)(void *ring, __u32 size, __u64 flags,
                                                struct bpf_dynptr *dynptr) = (void *)BPF_FUNC_ringbuf_reserve_dynptr;
static void (*const bpf_ringbuf_submit_dynptr)(struct bpf_dynptr *dynptr,
                                               __u64 flags) = (void *)BPF_FUNC_ringbuf_submit_dynptr;
static void (*const bpf_ringbuf_discard_dynptr)(struct bpf_dynptr *dynptr,
                                                __u64 flags) = (void *)BPF_FUNC_ringbuf_discard_dynptr;
static long (*const bpf_dynptr_read)(void *to, __u32 size, const struct bpf_dynptr *dynptr, __u32 offset,
                                     __u64 flags) = (void *)BPF_FUNC_dynptr_read;
static long (*const bpf_dynptr_write)(const struct bpf_dynptr *dynptr, __u32 offset, void *from, __u32 size,
                                      __u64 flags) = (void *)BPF_FUNC_dynptr_write;
static void *(*const bpf_dynptr_data)(const struct bpf_dynptr *dynptr, __u32 offset,
                                      __u32 size) = (void *)BPF_FUNC_dynptr_data;

static long (*const bpf_check_mtu)(void *context, __u32 interface, __u32 *length, __s32 difference,
                                   __u64 flags) = (void *)BPF_FUNC_check_mtu;
static long (*const bpf_skb_get_xfrm_state)(void *skb, __u32 index, void *state, __u32 size,
                                            __u64 flags) = (void *)BPF_FUNC_skb_get_xfrm_state;
static long (*const bpf_skb_get_tunnel_opt)(void *skb, void *options, __u32 size) = (void *)BPF_FUNC_skb_get_tunnel_opt;
static __u64 (*const bpf_skb_cgroup_id)(void *skb) = (void *)BPF_FUNC_skb_cgroup_id;
static __u64 (*const bpf_skb_ancestor_cgroup_id)(void *skb, int level) = (void *)BPF_FUNC_skb_ancestor_cgroup_id;
static __u64 (*const bpf_get_current_cgroup_id)(void) = (void *)BPF_FUNC_get_current_cgroup_id;
static __u64 (*const bpf_get_current_ancestor_cgroup_id)(int level) = (void *)BPF_FUNC_get_current_ancestor_cgroup_id;
static long (*const bpf_redirect_neigh)(__u32 interface, void *neighbour, int size,
                                        __u64 flags) = (void *)BPF_FUNC_redirect_neigh;
static long (*const bpf_redirect_peer)(__u32 interface, __u64 flags) = (void *)BPF_FUNC_redirect_peer;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[8]);
} values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u32);
} counted SEC(".maps");

/* What programs found out; the tests compare it between engines. */
int seen[16];

SEC("syscall")
int sums_numbers(void *context UNUSED)
{
	struct bpf_iter_num iterator;
	int *number, sum = 0;
	bpf_iter_num_new(&iterator, -2, 10);
	while ((number = bpf_iter_num_next(&iterator)))
		sum += *number;
	bpf_iter_num_destroy(&iterator);
	return sum;
}

SEC("syscall")
int refuses_wrong_loops(void *context UNUSED)
{
	struct bpf_iter_num iterator;
	seen[0] = bpf_iter_num_new(&iterator, 5, 4);
	seen[1] = bpf_iter_num_next(&iterator) != 0;
	bpf_iter_num_destroy(&iterator);
	seen[2] = bpf_iter_num_new(&iterator, 0, (8 << 20) + 1);
	seen[3] = bpf_iter_num_next(&iterator) != 0;
	bpf_iter_num_destroy(&iterator);
	seen[4] = bpf_iter_num_new(&iterator, 7, 7);
	seen[5] = bpf_iter_num_next(&iterator) != 0;
	bpf_iter_num_destroy(&iterator);
	return 0;
}

SEC("syscall")
int nests_loops(void *context UNUSED)
{
	struct bpf_iter_num outer, inner;
	int *row, *column, sum = 0;
	bpf_iter_num_new(&outer, 0, 5);
	while ((row = bpf_iter_num_next(&outer))) {
		bpf_iter_num_new(&inner, 0, *row);
		while ((column = bpf_iter_num_next(&inner)))
			sum += *row * *column;
		bpf_iter_num_destroy(&inner);
	}
	bpf_iter_num_destroy(&outer);
	return sum;
}

SEC("syscall")
int walks_bits(void *context UNUSED)
{
	__u64 words[3] = {1ULL << 63 | 5, 0, 2};
	struct bpf_iter_bits iterator;
	int *bit, sum = 0;
	seen[0] = bpf_iter_bits_new(&iterator, words, 3);
	while ((bit = bpf_iter_bits_next(&iterator)))
		sum = sum * 3 + *bit;
	bpf_iter_bits_destroy(&iterator);
	seen[1] = bpf_iter_bits_new(&iterator, words, 0);
	seen[2] = bpf_iter_bits_next(&iterator) != 0;
	bpf_iter_bits_destroy(&iterator);
	seen[3] = bpf_iter_bits_new(&iterator, words, 512);
	bpf_iter_bits_destroy(&iterator);
	return sum;
}

SEC("syscall")
int keeps_sections(void *context UNUSED)
{
	__u32 key = 0;
	__u64 *value;
	bpf_rcu_read_lock();
	bpf_preempt_disable();
	value = bpf_map_lookup_elem(&values, &key);
	if (value)
		value[0] = 7;
	bpf_preempt_enable();
	bpf_rcu_read_unlock();
	return value ? value[0] : 0;
}

SEC("syscall")
int measures_texts(void *context UNUSED)
{
	const char *text = "hello, world";
	seen[0] = bpf_strlen(text);
	seen[1] = bpf_strnlen(text, 5);
	seen[2] = bpf_strchr(text, 'o');
	seen[3] = bpf_strchr(text, 'x');
	seen[4] = bpf_strchrnul(text, 'x');
	seen[5] = bpf_strnchr(text, 4, 'o');
	seen[6] = bpf_strrchr(text, 'o');
	seen[7] = bpf_strspn(text, "ehl");
	seen[8] = bpf_strcspn(text, ", ");
	seen[9] = bpf_strstr(text, "world");
	seen[10] = bpf_strstr(text, "word");
	seen[11] = bpf_strnstr(text, "world", 11);
	seen[12] = bpf_strcmp(text, "hello");
	seen[13] = bpf_strcmp("hello", text);
	seen[14] = bpf_strchr(text, 0);
	seen[15] = bpf_strnchr(text, 100, 'x');
	return bpf_strcmp(text, "hello, world");
}

SEC("syscall")
int refuses_wrong_texts(void *context UNUSED)
{
	seen[0] = bpf_strlen((const char *)0);
	seen[1] = bpf_strcmp((const char *)0, "a");
	seen[2] = bpf_strnstr("hello", "", 0);
	seen[3] = bpf_strstr("", "a");
	seen[4] = bpf_strnstr("hello", "hello", 5);
	seen[5] = bpf_strnlen("hello", 0);
	return 0;
}

SEC("syscall")
int reads_and_writes_memory(void *context UNUSED)
{
	struct bpf_dynptr dynptr, clone;
	__u32 key = 0;
	__u64 number = 0x1122334455667788, back = 0, *data;
	__u64 *value = bpf_map_lookup_elem(&values, &key);
	if (!value)
		return 1;
	value[0] = value[1] = value[2] = 0;
	seen[0] = bpf_dynptr_from_mem(value, 24, 0, &dynptr);
	seen[1] = bpf_dynptr_write(&dynptr, 4, &number, 8, 0);
	seen[2] = bpf_dynptr_write(&dynptr, 17, &number, 8, 0);
	seen[3] = bpf_dynptr_write(&dynptr, 0, &number, 8, 1);
	seen[4] = bpf_dynptr_read(&back, 8, &dynptr, 4, 0);
	seen[5] = bpf_dynptr_read(&back, 8, &dynptr, 20, 0);
	seen[6] = bpf_dynptr_size(&dynptr);
	seen[7] = bpf_dynptr_adjust(&dynptr, 4, 12);
	seen[8] = bpf_dynptr_size(&dynptr);
	seen[9] = bpf_dynptr_adjust(&dynptr, 3, 2);
	seen[10] = bpf_dynptr_adjust(&dynptr, 0, 9);
	seen[11] = bpf_dynptr_clone(&dynptr, &clone);
	data = bpf_dynptr_data(&clone, 0, 8);
	seen[12] = data != 0;
	if (data)
		seen[13] = *(volatile __u32 *)data;
	seen[14] = bpf_dynptr_data(&clone, 1, 8) != 0;
	seen[15] = bpf_dynptr_is_null(&clone) + 2 * bpf_dynptr_is_rdonly(&clone);
	return back == number;
}

SEC("syscall")
int refuses_wrong_memory(void *context UNUSED)
{
	struct bpf_dynptr dynptr, clone;
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&values, &key);
	if (!value)
		return 1;
	seen[0] = bpf_dynptr_from_mem(value, 24, 1, &dynptr);
	seen[1] = bpf_dynptr_is_null(&dynptr);
	seen[2] = bpf_dynptr_size(&dynptr);
	seen[3] = bpf_dynptr_write(&dynptr, 0, &key, 4, 0);
	seen[4] = bpf_dynptr_read(&key, 4, &dynptr, 0, 0);
	seen[5] = bpf_dynptr_data(&dynptr, 0, 4) != 0;
	seen[6] = bpf_dynptr_adjust(&dynptr, 0, 0);
	seen[7] = bpf_dynptr_clone(&dynptr, &clone);
	return 0;
}

SEC("syscall")
int reserves_records(void *context UNUSED)
{
	struct bpf_dynptr dynptr;
	__u32 number = 77;
	seen[0] = bpf_ringbuf_reserve_dynptr(&records, 16, 0, &dynptr);
	seen[1] = bpf_dynptr_write(&dynptr, 12, &number, 4, 0);
	bpf_ringbuf_submit_dynptr(&dynptr, 0);
	seen[2] = bpf_ringbuf_reserve_dynptr(&records, 8192, 0, &dynptr);
	seen[3] = bpf_dynptr_write(&dynptr, 0, &number, 4, 0);
	bpf_ringbuf_discard_dynptr(&dynptr, 0);
	seen[4] = bpf_ringbuf_reserve_dynptr(&records, 8, 2, &dynptr);
	bpf_ringbuf_discard_dynptr(&dynptr, 0);
	return 0;
}

SEC("tc")
int writes_its_packet(struct __sk_buff *skb)
{
	struct bpf_dynptr dynptr;
	__u8 buffer[14], *header, mark = 0xee;
	seen[0] = bpf_dynptr_from_skb(skb, 0, &dynptr);
	seen[1] = bpf_dynptr_size(&dynptr);
	seen[2] = bpf_dynptr_is_rdonly(&dynptr);
	header = bpf_dynptr_slice_rdwr(&dynptr, 0, buffer, sizeof(buffer));
	seen[3] = header != 0;
	if (header)
		header[5] = 0xaa;
	header = bpf_dynptr_slice(&dynptr, 60, buffer, sizeof(buffer));
	seen[4] = header != 0;
	seen[5] = bpf_dynptr_write(&dynptr, 20, &mark, 1, 0);
	seen[6] = bpf_dynptr_write(&dynptr, 64, &mark, 1, 0);
	seen[7] = bpf_dynptr_data(&dynptr, 0, 4) != 0;
	seen[8] = bpf_dynptr_read(buffer, 2, &dynptr, 62, 0);
	return buffer[0] << 8 | buffer[1];
}

SEC("tc")
int asks_the_network(struct __sk_buff *skb)
{
	struct bpf_redir_neigh neighbour = {};
	struct bpf_xfrm_state state = {};
	__u8 options[8] = {1};
	__u32 length = 0;
	seen[0] = bpf_check_mtu(skb, 0, &length, 0, 0);
	seen[1] = length;
	seen[2] = bpf_check_mtu(skb, 1, &length, 100, 0);
	length = 65536;
	seen[3] = bpf_check_mtu(skb, 1, &length, 0, 0);
	length = 100;
	seen[4] = bpf_check_mtu(skb, 77, &length, 0, 0);
	seen[5] = length;
	seen[6] = bpf_check_mtu(skb, 0, &length, 0, 1);
	seen[7] = bpf_check_mtu(skb, 0, &length, 70000, 0);
	seen[8] = bpf_skb_get_xfrm_state(skb, 0, &state, sizeof(state), 0);
	seen[9] = bpf_skb_get_tunnel_opt(skb, options, sizeof(options));
	seen[10] = options[0];
	seen[11] = bpf_redirect_neigh(1, 0, 0, 1);
	seen[12] = bpf_redirect_neigh(1, &neighbour, 4, 0);
	seen[13] = bpf_redirect_peer(1, 1);
	return bpf_redirect_neigh(1, 0, 0, 0);
}

SEC("tc")
int knows_cgroups(struct __sk_buff *skb)
{
	seen[0] = bpf_skb_cgroup_id(skb);
	seen[1] = bpf_skb_cgroup_id(skb) >> 32;
	seen[2] = bpf_skb_ancestor_cgroup_id(skb, -1);
	seen[3] = bpf_skb_ancestor_cgroup_id(skb, 1000);
	seen[4] = bpf_skb_ancestor_cgroup_id(skb, 0);
	seen[5] = bpf_get_current_cgroup_id();
	seen[6] = bpf_get_current_ancestor_cgroup_id(-1);
	seen[7] = bpf_get_current_ancestor_cgroup_id(0);
	return 0;
}

SEC("syscall")
int counts_elements(void *context UNUSED)
{
	__u32 key = 0, value = 1;
	seen[0] = bpf_map_sum_elem_count((struct bpf_map *)&counted);
	bpf_map_update_elem(&counted, &key, &value, 0);
	bpf_map_update_elem(&counted, &value, &value, 0);
	bpf_map_update_elem(&counted, &value, &key, 0);
	seen[1] = bpf_map_sum_elem_count((struct bpf_map *)&counted);
	bpf_map_delete_elem(&counted, &value);
	seen[2] = bpf_map_sum_elem_count((struct bpf_map *)&counted);
	seen[3] = bpf_map_sum_elem_count((struct bpf_map *)&values);
	return 0;
}

SEC("cgroup_skb/egress")
int only_reads_its_packet(struct __sk_buff *skb)
{
	struct bpf_dynptr dynptr;
	__u8 buffer[4];
	__u8 *header;
	seen[0] = bpf_dynptr_from_skb(skb, 0, &dynptr);
	seen[1] = bpf_dynptr_size(&dynptr);
	seen[2] = bpf_dynptr_is_rdonly(&dynptr);
	seen[3] = bpf_dynptr_write(&dynptr, 0, buffer, 1, 0);
	header = bpf_dynptr_slice(&dynptr, 0, buffer, 4);
	seen[4] = header ? header[0] : -1;
	seen[5] = bpf_dynptr_from_skb(skb, 1, &dynptr);
	return 1;
}

SEC("xdp")
int writes_its_frame(struct xdp_md *xdp)
{
	struct bpf_dynptr dynptr;
	__u8 buffer[14], *header, mark = 0xee;
	seen[0] = bpf_dynptr_from_xdp(xdp, 0, &dynptr);
	seen[1] = bpf_dynptr_size(&dynptr);
	header = bpf_dynptr_slice_rdwr(&dynptr, 0, buffer, sizeof(buffer));
	seen[2] = header != 0;
	if (header)
		header[5] = 0xaa;
	seen[3] = bpf_dynptr_write(&dynptr, 20, &mark, 1, 0);
	seen[4] = bpf_dynptr_write(&dynptr, 20, &mark, 1, 1);
	seen[5] = bpf_dynptr_slice(&dynptr, 51, buffer, sizeof(buffer)) != 0;
	return XDP_PASS;
}

LICENSE("GPL");
