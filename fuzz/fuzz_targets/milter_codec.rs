//! Any octets as what an MTA sends on one milter connection.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|octets: &[u8]| smtp_fallback_milter_codec::check_any(octets));

// A change within a packet leaves its length wrong, so that nothing behind it is read. Three of four changes are made to packets, and
// the lengths are written anew.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let choose = |shift: u32, count: usize| (seed.wrapping_mul(0x9e37_79b1) >> shift) as usize % count.max(1);
    let mut packets = packets(&data[..size]);
    let other = choose(12, packets.len());
    let place = choose(4, packets.len());
    match choose(0, 8) {
        0 | 1 => return fuzzer_mutate(data, size, max_size),
        2 if place < packets.len() => drop(packets.remove(place)),
        3 if place < packets.len() => packets.insert(place, packets[other].clone()),
        4 if place < packets.len() => packets.swap(place, other),
        5 => packets.insert(place, vec![b"ODCHMRTULNBEAQK"[choose(12, 15)]]),
        _ if place < packets.len() => {
            let packet = &mut packets[place];
            let length = packet.len();
            packet.resize(length + 64, 0);
            let most = packet.len();
            let length = fuzzer_mutate(packet, length, most);
            packet.truncate(length);
        }
        _ => return fuzzer_mutate(data, size, max_size),
    }
    let framed = packets.iter().flat_map(|packet| [&(packet.len() as u32).to_be_bytes(), &packet[..]].concat());
    let mut written = 0;
    for (octet, to) in framed.zip(&mut data[..max_size]) {
        *to = octet;
        written += 1;
    }
    written
});

/// The packets in it, without their lengths; the last one is what is left.
fn packets(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Some((length, data)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX).min(data.len());
        packets.push(data[..length].to_vec());
        rest = &data[length..];
    }
    packets
}
