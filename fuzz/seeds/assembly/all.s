0: (bf) r6 = r1 ; R1=ctx()
again: r0 = *(u8 *)skb[23]
r0 = *(u16 *)skb[r1 + -4]
w1 s>>= 3
r2 = (s16)r3
r2 = be16 r2
r1 = addr_space_cast(r2, 0, 1)
if w1 s> -3 goto again
may_goto pc-2
gotol again
call bpf_map_lookup_elem#1
call kfunc#12@3
call again
r1 = 0x1234 ll
r1 = map[fd:3]+8
r1 = map[idx:0]
r1 = btf_id[5@1]
r1 = func[again]
lock *(u64 *)(r0 +0) += r1
r1 = atomic64_fetch_add((u64 *)(r0 +8), r1)
r0 = atomic_cmpxchg((u32 *)(r1 -4), r0, r2)
r1 = load_acquire((u8 *)(r2 +0))
store_release((u64 *)(r1 +0), r2)
*(u32 *)(r10 -4) = 7
r1 = -r1
exit
