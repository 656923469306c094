/* Pages of an arena, as a program asks for them and gives them back: one request of the caller at a time.
 *
 * expect: `answer` is what the function of that name answers; pages begin as zeros; a list that is built in one run, with pointers as
 * user space has them, is walked in the next. */
#include "bpf.h"

#define ARENA __attribute__((address_space(1)))
#define NO_NODE -1
#define KSYM __attribute__((section(".ksyms")))

struct {
	__uint(type, 33 /* BPF_MAP_TYPE_ARENA */);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 12 /* pages */);
} arena SEC(".maps");

void ARENA *bpf_arena_alloc_pages(void *map, void ARENA *address, __u32 count, int node, __u64 flags) KSYM;
void bpf_arena_free_pages(void *map, void ARENA *address, __u32 count) KSYM;

enum { TAKE, GIVE_BACK, STORE, LOAD, PUSH, SUM };

struct request {
	__u64 what;
	__u64 address;
	__u64 count;
	__u64 flags;
	__u64 value;
	__u64 answer;
};

struct node {
	__u64 value;
	struct node ARENA *next;
};

/* On the first page, which is user space's from the beginning. */
__u64 ARENA magic = 0x1234;
struct node ARENA *ARENA head;

SEC("syscall")
int request(struct request *request)
{
	void ARENA *address = (void ARENA *)request->address;
	__u64 ARENA *word = address;
	struct node ARENA *node;
	__u64 sum = 0;

	switch (request->what) {
	case TAKE:
		request->answer = (__u64)bpf_arena_alloc_pages(&arena, address, request->count, NO_NODE, request->flags);
		break;
	case GIVE_BACK:
		bpf_arena_free_pages(&arena, address, request->count);
		request->answer = 0;
		break;
	case STORE:
		*word = request->value;
		request->answer = 0;
		break;
	case LOAD:
		request->answer = *word;
		break;
	case PUSH:
		node = address;
		node->value = request->value;
		node->next = head;
		head = node;
		request->answer = 0;
		break;
	case SUM:
		node = head;
		for (int i = 0; i < 11 && node; i++) {
			sum += node->value;
			node = node->next;
		}
		request->answer = sum + magic;
		break;
	}
	return 0;
}

LICENSE("GPL");
