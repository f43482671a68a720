//! Damage: what a disk, a cable or an attacker makes of valid bytes.

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0..bound; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.bits() % bound as u64) as usize }
    }
}

/// Lengths that nobody has: 2 GiB and its neighbours, and as far as a field goes.
const ABSURD: [u64; 6] = [0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0xFFFF_FFFF, u64::MAX / 2, u64::MAX];
/// Longest noise, bytes.
const NOISE_BYTES_MAX: usize = 600;

/// Bytes that may do anything: damaged ones of the corpus, pieces of two of them, an absurd length in their midst, or nothing but noise.
#[must_use]
pub fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(3) {
        match random.below(10) {
            0 => bytes.truncate(random.below(bytes.len() + 1)),
            1 => {
                let other = &corpus[random.below(corpus.len())];
                bytes.truncate(random.below(bytes.len() + 1));
                bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            2 => {
                let (from, to) = (random.below(bytes.len() + 1), random.below(bytes.len() + 1));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(from..from, piece);
            }
            3 => bytes = (0..random.below(NOISE_BYTES_MAX)).map(|_| random.bits() as u8).collect(),
            4..7 => absurd_length(random, &mut bytes),
            _ if bytes.is_empty() => {}
            _ => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
        }
    }
    bytes
}

/// Puts a length that nobody has somewhere: as a field of a fixed size in either order, or as a varint.
fn absurd_length(random: &mut Random, bytes: &mut Vec<u8>) {
    let length = ABSURD[random.below(ABSURD.len())];
    let at = random.below(bytes.len() + 1);
    let field = match random.below(5) {
        0 => (length as u32).to_le_bytes().to_vec(),
        1 => (length as u32).to_be_bytes().to_vec(),
        2 => length.to_le_bytes().to_vec(),
        3 => length.to_be_bytes().to_vec(),
        _ => {
            let (mut rest, mut varint) = (length, Vec::new());
            while rest >= 0x80 {
                varint.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            varint.push(rest as u8);
            // In the place of a short one.
            bytes.splice(at..(at + 1).min(bytes.len()), varint);
            return;
        }
    };
    bytes.splice(at..(at + field.len()).min(bytes.len()), field);
}
