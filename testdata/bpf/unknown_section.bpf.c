/* A typing slip in the section's name.
 * expect: the program stays untyped, with a warning that names `socket` */
#include "bpf.h"

SEC("sokcet")
int misspelt(struct __sk_buff *skb)
{
	return skb->len;
}

LICENSE("GPL");
