//! The published age test vectors (the C2SP testkit: `NAME: VALUE` lines, an empty line, then the file), read from `$CHARTMESH_DATA/vectors/age`.
//!
//! Hybrid and scrypt vectors are opened as we open such files. The others are about X25519, which chartmesh has no keys for: those that fail in the header's form, its MAC or the
//! payload are opened with the file key that each vector states. Armor is not read; armored files must be refused as such.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

use chartmesh_sealing::{FileKey, Identity, OpenError, PassphraseError, file_key, open, open_passphrase, open_with_file_key};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

struct Vector {
    name: String,
    fields: BTreeMap<String, Vec<String>>,
    file: Vec<u8>,
}

impl Vector {
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let mut fields = BTreeMap::<_, Vec<_>>::new();
        for line in std::str::from_utf8(&bytes[..end]).unwrap().lines() {
            let (name, value) = line.split_once(": ").unwrap();
            fields.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        let mut file = bytes[end + 2..].to_vec();
        if fields.contains_key("compressed") {
            file = miniz_oxide::inflate::decompress_to_vec_zlib(&file).unwrap();
        }
        Self { name: path.file_name().unwrap().to_string_lossy().into_owned(), fields, file }
    }

    fn one(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(|values| values[0].as_str())
    }

    fn file_key(&self) -> FileKey {
        FileKey::new(unhex(self.one("file key").unwrap()).try_into().unwrap())
    }

    fn hybrid_identity(&self) -> Option<Identity> {
        let texts = self.fields.get("identity")?;
        texts.iter().find_map(|text| Identity::from_bech32(text).ok())
    }

    /// How opening must end: the payload, or one of these errors.
    fn check(&self, opened: Result<Zeroizing<Vec<u8>>, OpenError>) {
        let name = &self.name;
        match self.one("expect").unwrap() {
            "success" => assert_eq!(&Sha256::digest(&*opened.expect(name))[..], unhex(self.one("payload").unwrap()), "{name}"),
            "no match" => assert_eq!(opened.err(), Some(OpenError::NoMatch), "{name}"),
            "HMAC failure" => assert_eq!(opened.err(), Some(OpenError::Mac), "{name}"),
            "payload failure" => assert_eq!(opened.err(), Some(OpenError::Payload), "{name}"),
            "header failure" => assert!(matches!(opened.err(), Some(OpenError::Header | OpenError::Version)), "{name}"),
            other => panic!("{name} expects {other}"),
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn vectors() -> Option<Vec<Vector>> {
    let Some(data) = std::env::var_os("CHARTMESH_DATA") else {
        eprintln!("skipped: CHARTMESH_DATA is not set");
        return None;
    };
    let mut names: Vec<OsString> = fs::read_dir(Path::new(&data).join("vectors/age")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert!(names.len() >= 143, "{} vectors", names.len());
    Some(names.iter().map(|name| Vector::read(&Path::new(&data).join("vectors/age").join(name))).collect())
}

#[test]
fn hybrid_vectors() {
    let Some(vectors) = vectors() else { return };
    let mut seen = 0;
    for vector in vectors.iter().filter(|vector| vector.name.starts_with("hybrid")) {
        let identity = vector.hybrid_identity().unwrap();
        if vector.name == "hybrid_x25519_arg" {
            // An X25519 stanza is what is wrong in it, and those are not looked at.
            assert_eq!(open(&vector.file, &identity).err(), Some(OpenError::NoMatch));
            continue;
        }
        vector.check(open(&vector.file, &identity));
        let key = file_key(&vector.file, &identity);
        assert_eq!(key.is_ok(), vector.one("expect") == Some("success"), "{}", vector.name);
        if let Ok(key) = key {
            assert_eq!(key.expose(), vector.file_key().expose(), "{}", vector.name);
            vector.check(open_with_file_key(&vector.file, &key));
        }
        seen += 1;
    }
    assert!(seen >= 16, "{seen}");
}

#[test]
fn scrypt_vectors() {
    let Some(vectors) = vectors() else { return };
    let mut seen = 0;
    for vector in vectors.iter().filter(|vector| !vector.fields.contains_key("armored") && vector.fields.contains_key("passphrase")) {
        let passphrase = vector.one("passphrase").unwrap();
        match open_passphrase(&vector.file, passphrase, 16) {
            Ok(opened) => vector.check(Ok(opened)),
            Err(PassphraseError::File(error)) => vector.check(Err(error)),
            Err(PassphraseError::Wrong) => assert_eq!(vector.one("expect"), Some("no match"), "{}", vector.name),
            Err(PassphraseError::Work { required, limit: 16 }) if required > 16 => assert_eq!(vector.one("expect"), Some("header failure"), "{}", vector.name),
            Err(other) => panic!("{}: {other}", vector.name),
        }
        seen += 1;
    }
    assert!(seen >= 22, "{seen}");
}

#[test]
fn header_and_payload_vectors_with_the_file_key() {
    let Some(vectors) = vectors() else { return };
    let mut seen = 0;
    for vector in &vectors {
        // What is wrong with an X25519 or scrypt stanza does not matter to one who has the file key.
        let of_a_stanza = ["hybrid", "scrypt", "x25519"].iter().any(|kind| vector.name.starts_with(kind));
        if of_a_stanza || vector.fields.contains_key("armored") {
            continue;
        }
        vector.check(open_with_file_key(&vector.file, &vector.file_key()));
        seen += 1;
    }
    assert!(seen >= 50, "{seen}");
}

#[test]
fn armored_files_are_refused_as_such() {
    let Some(vectors) = vectors() else { return };
    let mut seen = 0;
    for vector in vectors.iter().filter(|vector| vector.fields.contains_key("armored")) {
        assert_eq!(open_with_file_key(&vector.file, &vector.file_key()).err(), Some(OpenError::Header), "{}", vector.name);
        seen += 1;
    }
    assert!(seen >= 33, "{seen}");
}
