// Questions about the running kernel's own types: fields at any depth, bit fields, flavours, enumerators, shapes.
#include "bpf.h"

#define ADAPTED __attribute__((preserve_access_index))
#define FIELD(field, kind) __builtin_preserve_field_info(field, kind)
#define TYPE(type, kind) __builtin_preserve_type_info(*(type *)0, kind)
#define ENUM(type, name, kind) __builtin_preserve_enum_value(*(type *)name, kind)

static long (*const bpf_probe_read_kernel)(void *into, __u32 size, const void *from) = (void *)BPF_FUNC_probe_read_kernel;

struct list_head {
	struct list_head *next, *prev;
} ADAPTED;
struct kuid {
	__u32 val;
} ADAPTED;
struct cred {
	struct kuid uid;
} ADAPTED;
struct mm_struct {
	unsigned long start_code, end_code;
	long exe_file;
} ADAPTED;
struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct task_struct *real_parent;
	struct list_head children;
	struct mm_struct *mm;
	const struct cred *cred;
	unsigned int in_execve : 1;
	unsigned int in_iowait : 1;
} ADAPTED;
struct task_struct___state {
	long state;
} ADAPTED;
struct task_struct___underscored {
	unsigned int __state;
} ADAPTED;
struct task_struct___imagined {
	int no_such_field;
} ADAPTED;

struct sk_buff {
	unsigned int len;
	__u8 pkt_type : 3;
	__u8 cloned : 1;
	__u16 transport_header;
	unsigned char *head;
} ADAPTED;
struct sock_common {
	__u16 skc_family;
	unsigned char skc_reuse : 4;
	unsigned char skc_ipv6only : 1;
} ADAPTED;
struct tcp_sock {
	__u32 snd_cwnd;
	__u8 repair : 1;
	__u8 thin_lto : 1;
} ADAPTED;

enum bpf_map_type___core { BPF_MAP_TYPE_HASH___core = 77, BPF_MAP_TYPE_NONE_SUCH___core = 78 };
enum pid_type___core { PIDTYPE_SID___core = 33 };

struct list_head___shape {
	struct list_head *next, *prev;
};
struct list_head___wrong {
	int next;
};

#define QUESTION(name, answer)                                                                                         \
	SEC("kprobe/nothing")                                                                                          \
	unsigned long long name(void *context)                                                                         \
	{                                                                                                              \
		struct task_struct *task = context;                                                                    \
		struct sk_buff *skb = context;                                                                         \
		struct sock_common *common = context;                                                                  \
		struct tcp_sock *tcp = context;                                                                        \
		(void)task, (void)skb, (void)common, (void)tcp;                                                        \
		return answer;                                                                                         \
	}

QUESTION(pid, FIELD(task->pid, 0))
QUESTION(comm_size, FIELD(task->comm, 1))
QUESTION(comm_element, FIELD(task->comm[5], 0))
QUESTION(children_prev, FIELD(task->children.prev, 0))
QUESTION(parent, FIELD(task->real_parent, 0))
QUESTION(state, FIELD(((struct task_struct___state *)context)->state, 2))
QUESTION(underscored, FIELD(((struct task_struct___underscored *)context)->__state, 2))
QUESTION(imagined, FIELD(((struct task_struct___imagined *)context)->no_such_field, 2))
QUESTION(end_code, FIELD(task->mm->end_code, 0))
QUESTION(exe_file, FIELD(task->mm->exe_file, 2))
QUESTION(uid, FIELD(task->cred->uid, 0))
QUESTION(iowait_offset, FIELD(task->in_iowait, 0))
QUESTION(iowait_size, FIELD(task->in_iowait, 1))
QUESTION(iowait_left, FIELD(task->in_iowait, 4))
QUESTION(iowait_right, FIELD(task->in_iowait, 5))
QUESTION(iowait_signed, FIELD(task->in_iowait, 3))
QUESTION(pid_signed, FIELD(task->pid, 3))
QUESTION(len, FIELD(skb->len, 0))
QUESTION(pkt_type_offset, FIELD(skb->pkt_type, 0))
QUESTION(pkt_type_left, FIELD(skb->pkt_type, 4))
QUESTION(cloned_left, FIELD(skb->cloned, 4))
QUESTION(transport_header, FIELD(skb->transport_header, 0))
QUESTION(head_size, FIELD(skb->head, 1))
QUESTION(family, FIELD(common->skc_family, 0))
QUESTION(ipv6only_left, FIELD(common->skc_ipv6only, 4))
QUESTION(ipv6only_right, FIELD(common->skc_ipv6only, 5))
QUESTION(repair_offset, FIELD(tcp->repair, 0))
QUESTION(thin_lto_exists, FIELD(tcp->thin_lto, 2))
QUESTION(task_size, TYPE(struct task_struct, 1))
QUESTION(task_exists, TYPE(struct task_struct, 0))
QUESTION(task_id, __builtin_btf_type_id(*(struct task_struct *)0, 1))
QUESTION(list_matches, TYPE(struct list_head___shape, 2))
QUESTION(list_wrong, TYPE(struct list_head___wrong, 2))
QUESTION(hash_value, ENUM(enum bpf_map_type___core, BPF_MAP_TYPE_HASH___core, 1))
QUESTION(none_such, ENUM(enum bpf_map_type___core, BPF_MAP_TYPE_NONE_SUCH___core, 0))
QUESTION(sid_value, ENUM(enum pid_type___core, PIDTYPE_SID___core, 1))

SEC("kprobe/nothing")
int reads(struct task_struct *task)
{
	int tgid = 0;
	struct task_struct *parent = 0;
	bpf_probe_read_kernel(&parent, sizeof(parent), &task->real_parent);
	bpf_probe_read_kernel(&tgid, sizeof(tgid), &parent->tgid);
	return tgid;
}

SEC("?kprobe/nothing")
int reads_imagined(struct task_struct___imagined *task)
{
	int value = 0;
	bpf_probe_read_kernel(&value, sizeof(value), &task->no_such_field);
	return value;
}

LICENSE("GPL");
