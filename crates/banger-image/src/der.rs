//! The little of DER that a public key of RSA needs (X.690; RFC 5280, section 4.1.2.7; RFC 8017,
//! appendix A.1.1).

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
/// `rsaEncryption` with no parameters, as the content of a sequence.
const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];

/// The parts of a public key of RSA.
pub(crate) struct Rsa<'a> {
    /// The whole key without its wrapping, a DER `RSAPublicKey`.
    pub key: &'a [u8],
    /// The content of its numbers: two's complement, the highest byte first.
    pub modulus: &'a [u8],
    pub exponent: &'a [u8],
}

/// Takes a DER `SubjectPublicKeyInfo` apart.
pub(crate) fn rsa(spki: &[u8]) -> Option<Rsa<'_>> {
    let info = only(spki, SEQUENCE)?;
    let (algorithm, rest) = take(info, SEQUENCE)?;
    if algorithm != RSA {
        return None;
    }
    // No bits are unused.
    let key = only(rest, BIT_STRING)?.strip_prefix(&[0])?;
    let (modulus, rest) = take(only(key, SEQUENCE)?, INTEGER)?;
    let exponent = only(rest, INTEGER)?;
    (!modulus.is_empty() && !exponent.is_empty()).then_some(Rsa { key, modulus, exponent })
}

/// The content of an element that is all there is.
fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    take(bytes, tag).and_then(|(content, rest)| rest.is_empty().then_some(content))
}

/// The content of the first element, and what follows it.
fn take(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&[tag])?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        ..=0x7f => (usize::from(*first), rest),
        // So many bytes have the length; a key needs no more than two.
        0x81 | 0x82 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
