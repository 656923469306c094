/* The loops that the benchmark runs: one source, compiled for BPF and for the host.
 *
 * `memory` has 2,048 bytes. Its first 8 hold how many of them a packet loop may look at, in host order; packets begin at 16. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define PROGRAM(name) __attribute__((section("socket/" #name), used)) u64 name(u8 *memory)
#define ROLLED _Pragma("clang loop unroll(disable) vectorize(disable)")
#define NETWORK(value) ((u16)((value) >> 8 | (value) << 8))

/* A dependent chain of shifts and multiplications. */
PROGRAM(alu)
{
    u64 state = memory[16] | 1, sum = 0;
    ROLLED for (u32 round = 0; round < 256; round++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        sum += state * 0x9e3779b97f4a7c15ull;
    }
    return sum ^ sum >> 32;
}

/* Loads, mixes and stores every word of the memory, each round needing the one before. */
PROGRAM(memory)
{
    u64 hash = 0xcbf29ce484222325ull;
    ROLLED for (u32 at = 16; at < 2048; at += 8) {
        u64 *word = (u64 *)(memory + at);
        hash = (hash ^ *word) * 0x100000001b3ull;
        *word = hash;
    }
    return hash ^ hash >> 32;
}

/* Moves half of the memory to the other half, word by word: loads and stores that need not wait for each other. */
PROGRAM(copy)
{
    u64 sum = 0;
    ROLLED for (u32 at = 16; at < 1024; at += 8) {
        u64 word = *(u64 *)(memory + at);
        *(u64 *)(memory + 1024 + at - 16) = word + sum;
        sum += word & 0xff;
    }
    return sum;
}

static __attribute__((always_inline)) u64 classify(u8 *packet, u8 *end)
{
    if (packet + 14 > end)
        return 1;
    u16 protocol = *(u16 *)(packet + 12);
    packet += 14;
    if (protocol == NETWORK(0x8100)) {
        if (packet + 4 > end)
            return 1;
        protocol = *(u16 *)(packet + 2);
        packet += 4;
    }
    u8 transport;
    if (protocol == NETWORK(0x0800)) {
        if (packet + 20 > end)
            return 2;
        transport = packet[9];
        packet += (packet[0] & 15) * 4;
    } else if (protocol == NETWORK(0x86dd)) {
        if (packet + 40 > end)
            return 3;
        transport = packet[6];
        packet += 40;
    } else {
        return 4;
    }
    if (transport != 6 && transport != 17)
        return transport;
    if (packet + 4 > end)
        return 5;
    return (u64)NETWORK(*(u16 *)packet) << 16 | NETWORK(*(u16 *)(packet + 2));
}

/* Headers of 16 packets, 96 bytes apart. */
PROGRAM(packets)
{
    u8 *end = memory + *(u64 *)memory;
    u64 sum = 0;
    ROLLED for (u32 index = 0; index < 16; index++)
        sum += classify(memory + 16 + index * 96, end);
    return sum;
}
