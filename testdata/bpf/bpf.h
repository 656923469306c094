/* What the test programs need: the kernel's UAPI types, the helpers they call, and the ways to define maps.
 *
 * Self-contained on purpose: only <linux/...> headers, no loader's library. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/types.h>

#include <stddef.h>

/* Places a program or a definition in the named section and keeps it even if nothing refers to it. */
#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))

#define LICENSE(text) char _license[] SEC("license") = text

/* `.maps` definitions: numbers travel as the length of an array, types as the target of a pointer. */
#define __uint(name, number) int(*name)[number]
#define __type(name, type) typeof(type) *name
#define __array(name, type) typeof(type) *name[]

/* Helpers are called by number: a constant function pointer compiles to `call number`. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value,
                                         __u64 flags) = (void *)BPF_FUNC_map_update_elem;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_delete_elem;
static long (*const bpf_tail_call)(void *context, void *map, __u32 index) = (void *)BPF_FUNC_tail_call;

/* Packet loads (LD_ABS, LD_IND): network byte order, and a load outside the packet ends the program with 0. */
unsigned long long load_byte(void *skb, unsigned long long offset) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long offset) asm("llvm.bpf.load.half");
unsigned long long load_word(void *skb, unsigned long long offset) asm("llvm.bpf.load.word");

/* Hides a value from the optimiser, so that it cannot compute at compile time what the program should at run time. */
#define OPAQUE(value) asm volatile("" : "+r"(value))

/* The legacy definition that everybody agrees on, 20 bytes. */
struct legacy_map {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
};
