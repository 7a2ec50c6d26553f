use super::super::testing::{apk, apkindex, control, cut, gz, sign, signature};
use super::*;
use crate::oci::testing::{file, layer};
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

/// Everything of a package: its head, its data and the data's hash.
fn read(apk: impl Read) -> Result<(Head, Vec<u8>, [u8; 32]), StreamError> {
    let mut stream = Stream::new(apk);
    let head = stream.head(LIMIT)?;
    let mut data = stream.data(LIMIT as u64);
    let mut plain = Vec::new();
    if let Err(error) = data.read_to_end(&mut plain) {
        return Err(data.trouble().unwrap_or(StreamError::Read(error)));
    }
    Ok((head, plain, data.finish()?.0))
}

fn error(apk: &[u8]) -> String {
    read(apk).unwrap_err().to_string()
}

/// Gives a few bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(self.1);
        self.0.read(&mut buffer[..n])
    }
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk burns"))
    }
}

fn parts() -> [Vec<u8>; 3] {
    let data = gz(&layer(&[file("f", [7; 5000])]));
    let control = control("pkgname = a\n", &data, &[file(".trigger", "t")]);
    [signature(&control), control, data]
}

#[test]
fn the_members_are_split_and_hashed() {
    let [signature, control, data] = parts();
    let whole = [&*signature, &control, &data].concat();
    for step in [1, 3, 512, usize::MAX] {
        let (head, plain, hash) = read(Slow(&whole, step)).unwrap();
        assert_eq!(head.compressed, control);
        assert_eq!(plain, layer(&[file("f", [7; 5000])]));
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(&data)));
        let names: Vec<_> = head.files.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, [".PKGINFO", ".trigger"]);
        let [Signature { algorithm: Algorithm::RsaSha256, bytes, .. }] = &*head.signatures else {
            panic!("{:?}", head.signatures)
        };
        assert_eq!(*bytes, sign(&control));
    }
    let mut stream = Stream::new(&*whole);
    stream.head(LIMIT).unwrap();
    assert_eq!(stream.data(u64::MAX).finish().unwrap().1, whole.len() as u64);
}

#[test]
fn an_index_ends_behind_its_list() {
    let index = apkindex("");
    let end = |bytes: &[u8]| {
        let mut stream = Stream::new(bytes);
        stream.head(LIMIT).unwrap();
        stream.end()
    };
    end(&index).unwrap();
    insta::assert_snapshot!(end(&[&*index, b"x"].concat()).unwrap_err(), @"it has bytes behind its control member that belong to nothing");
    insta::assert_snapshot!(end(&[&*index, &*gz(b"")].concat()).unwrap_err(), @"it has another member behind its control member");
}

#[test]
fn signatures_of_several_kinds_are_told_apart() {
    let files = [
        file(".SIGN.RSA.one", "1"),
        file(".SIGN.RSA256.two", "2"),
        file(".SIGN.RSA512.three", "3"),
        file(".SIGN.DSA.four", "4"),
        file(".SIGN.five", "5"),
    ];
    let [_, control, data] = parts();
    let whole = [gz(&cut(&files[..2])), gz(&cut(&files[2..])), control, data].concat();
    let (head, ..) = read(&*whole).unwrap();
    let shown: Vec<_> =
        head.signatures.iter().map(|s| format!("{:?} {}", s.algorithm, s.key)).collect();
    assert_eq!(shown, ["RsaSha1 one", "RsaSha256 two"]);
}

#[test]
fn what_is_no_package_is_refused() {
    let [signature, control, data] = parts();
    let whole = [&*signature, &control, &data].concat();
    let mixed = gz(&cut(&[file(".SIGN.RSA.one", ""), file(".PKGINFO", "")]));
    let padded = [cut(&[file(".PKGINFO", "")]), vec![0; 512], vec![1; 512]].concat();
    let mut broken = whole.clone();
    *broken.last_mut().unwrap() ^= 1;
    let errors = [
        error(b""),
        error(b"no gzip at all"),
        error(&signature),
        error(&whole[..signature.len() + 9]),
        error(&[&*signature, &control].concat()),
        error(&whole[..whole.len() - 1]),
        error(&broken),
        error(&[&*whole, b"\0"].concat()),
        error(&[&*whole, &data].concat()),
        error(&mixed),
        error(&signature.repeat(SIGNATURES + 1)),
        error(&gz(&cut(&[file(".SIGN.RSA.one", vec![0; SIGNATURE])]))),
        error(&gz(&[0; LIMIT + 1])),
        error(&gz(&padded)),
        error(&gz(&[1; 700])),
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    it is incomplete: it ends within its control member
    its control member cannot be read: invalid gzip header
    it is incomplete: it ends within its control member
    it is incomplete: it ends within its control member
    it is incomplete: it ends within its data
    it is incomplete: it ends within its data
    its data cannot be read: corrupt gzip stream does not have a matching checksum
    it has bytes behind its data that belong to nothing
    it has another member behind its data
    its signatures cannot be read: there are other files among them
    it has more than 16 signatures
    it has more than 65536 bytes of signatures, which none has
    it has more than 1048576 bytes of control member, which none has
    its control member cannot be read: something follows the end of its tar file
    its control member cannot be read: a header of the tar file is damaged, or it is no tar file
    ");
    let bomb = gz(&vec![0; LIMIT + 1]);
    insta::assert_snapshot!(error(&[&*signature, &control, &bomb].concat()), @"it has more than 1048576 bytes of data, which none has");
    // What cannot be compressed has too many bytes before it is decompressed.
    let noise: Vec<u8> =
        (0..40_000_u32).flat_map(|n| Sha256::digest(n.to_le_bytes()).to_vec()).collect();
    assert!(matches!(read(&*gz(&noise)), Err(StreamError::TooLarge { .. })));
    let failing = whole[..whole.len() - 9].chain(Failing);
    assert!(
        matches!(read(failing), Err(StreamError::Read(error)) if error.to_string() == "the disk burns")
    );
}

proptest! {
    #[test]
    fn any_change_is_harmless(at in 0usize..2000, byte: u8, cut in 0usize..2000, garbage in proptest::collection::vec(any::<u8>(), 0..40)) {
        let whole = apk("pkgname = a\n", &[], &[file("f", "content")]);
        let mut changed = whole.clone();
        let n = at % whole.len();
        changed[n] = byte;
        let _ = read(&*changed);
        prop_assert!(read(&whole[..cut % whole.len()]).is_err());
        let n = cut % whole.len();
        let inserted = [&whole[..n], &garbage, &whole[n..]].concat();
        let _ = read(&*inserted);
        prop_assert_eq!(read(&*[&*whole, &garbage].concat()).is_ok(), garbage.is_empty());
    }

    #[test]
    fn garbage_is_refused(garbage in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(read(&*garbage).is_err());
        prop_assert!(read(&*gz(&garbage)).is_err());
    }
}
