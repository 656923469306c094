// Timers and work queues: what they answer, and what their callbacks find.
#include "bpf.h"

#define KSYM __attribute__((section(".ksyms")))
#define UNUSED __attribute__((unused))

static long (*const bpf_timer_init)(struct bpf_timer *timer, void *map, __u64 flags) = (void *)BPF_FUNC_timer_init;
static long (*const bpf_timer_set_callback)(struct bpf_timer *timer, void *callback) = (void *)BPF_FUNC_timer_set_callback;
static long (*const bpf_timer_start)(struct bpf_timer *timer, __u64 nanoseconds, __u64 flags) = (void *)BPF_FUNC_timer_start;
static long (*const bpf_timer_cancel)(struct bpf_timer *timer) = (void *)BPF_FUNC_timer_cancel;

struct bpf_wq {
	__u64 opaque[2];
} __attribute__((aligned(8)));

extern int bpf_wq_init(struct bpf_wq *queue, void *map, unsigned int flags) KSYM;
extern int bpf_wq_set_callback_impl(struct bpf_wq *queue, int (*callback)(void *, int *, void *), unsigned int flags,
                                    void *unused) KSYM;
extern int bpf_wq_start(struct bpf_wq *queue, unsigned int flags) KSYM;

struct element {
	__u64 before;
	struct bpf_timer timer;
	__u64 count;
};

struct job {
	struct bpf_wq queue;
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, struct element);
} elements SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct element);
} by_key SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct job);
} jobs SEC(".maps");

/* What programs and callbacks found out; the tests compare it between engines. */
int seen[16];
/* Callbacks that ran. */
__u64 fired;

static int again(void *map UNUSED, __u32 *key, struct element *element)
{
	element->count++;
	seen[8] = *key;
	seen[9] = element->before;
	seen[10] = bpf_timer_cancel(&element->timer);
	if (element->count < 3)
		bpf_timer_start(&element->timer, 1000, 0);
	fired++;
	return 0;
}

SEC("syscall")
int arms(void *context UNUSED)
{
	__u32 key = 2;
	struct element *element = bpf_map_lookup_elem(&elements, &key);
	if (!element)
		return 1;
	element->before = 77;
	seen[0] = bpf_timer_init(&element->timer, &elements, 1);
	seen[1] = bpf_timer_init(&element->timer, &elements, 1);
	seen[2] = bpf_timer_start(&element->timer, 1000, 0);
	seen[3] = bpf_timer_set_callback(&element->timer, again);
	seen[4] = bpf_timer_start(&element->timer, 1000, 4);
	seen[5] = bpf_timer_start(&element->timer, 1000, 0);
	return 0;
}

SEC("syscall")
int cancels(void *context UNUSED)
{
	__u32 key = 0;
	struct element *element = bpf_map_lookup_elem(&elements, &key);
	if (!element)
		return 1;
	seen[0] = bpf_timer_cancel(&element->timer);
	seen[1] = bpf_timer_init(&element->timer, &elements, 7);
	seen[2] = bpf_timer_cancel(&element->timer);
	seen[3] = bpf_timer_set_callback(&element->timer, again);
	seen[4] = bpf_timer_start(&element->timer, 1ULL << 40, 0);
	seen[5] = bpf_timer_cancel(&element->timer);
	seen[6] = bpf_timer_cancel(&element->timer);
	seen[7] = bpf_timer_start(&element->timer, 0, 0);
	return 0;
}

SEC("syscall")
int arms_in_a_hash(void *context UNUSED)
{
	__u32 key = 5;
	struct element first = {.before = 3};
	struct element *element;
	bpf_map_update_elem(&by_key, &key, &first, BPF_ANY);
	element = bpf_map_lookup_elem(&by_key, &key);
	if (!element)
		return 1;
	seen[0] = bpf_timer_init(&element->timer, &by_key, 0);
	seen[1] = bpf_timer_set_callback(&element->timer, again);
	seen[2] = bpf_timer_start(&element->timer, 1000, 0);
	return 0;
}

SEC("syscall")
int deletes(void *context UNUSED)
{
	__u32 key = 6;
	struct element first = {};
	struct element *element;
	bpf_map_update_elem(&by_key, &key, &first, BPF_ANY);
	element = bpf_map_lookup_elem(&by_key, &key);
	if (!element)
		return 1;
	seen[0] = bpf_timer_init(&element->timer, &by_key, 1);
	seen[1] = bpf_timer_set_callback(&element->timer, again);
	seen[2] = bpf_timer_start(&element->timer, 20 * 1000 * 1000, 0);
	seen[3] = bpf_map_delete_elem(&by_key, &key);
	return 0;
}

static int works(void *map UNUSED, int *key, void *value)
{
	struct job *job = value;
	job->count++;
	seen[8] = *key;
	fired++;
	return 0;
}

SEC("syscall")
int queues(void *context UNUSED)
{
	__u32 key = 1;
	struct job *job = bpf_map_lookup_elem(&jobs, &key);
	if (!job)
		return 1;
	seen[0] = bpf_wq_init(&job->queue, &jobs, 1);
	seen[1] = bpf_wq_init(&job->queue, &jobs, 0);
	seen[2] = bpf_wq_start(&job->queue, 0);
	seen[3] = bpf_wq_set_callback_impl(&job->queue, works, 0, 0);
	seen[4] = bpf_wq_start(&job->queue, 0);
	return 0;
}

static int fails(void *map, __u32 *key UNUSED, struct element *element UNUSED)
{
	/* Far outside the window, wherever the map is. */
	return *(volatile int *)((char *)map + 0xfff);
}

SEC("?syscall")
int arms_what_fails(void *context UNUSED)
{
	__u32 key = 1;
	struct element *element = bpf_map_lookup_elem(&elements, &key);
	if (!element)
		return 1;
	bpf_timer_init(&element->timer, &elements, 1);
	bpf_timer_set_callback(&element->timer, fails);
	return bpf_timer_start(&element->timer, 1000, 0);
}

LICENSE("GPL");
