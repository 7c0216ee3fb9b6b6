//! Seals and opens single files, to check against other implementations of age.
//!
//! `seal keygen` writes a new identity; `seal recipient IDENTITY-FILE` its recipient; `seal seal FILE RECIPIENT-FILE` a sealed file;
//! `seal open FILE IDENTITY-FILE` what is in it; `seal document FILE RECIPIENT-FILE` a sealed document with FILE as its content. All to standard output.

mod header;

use std::{
    env,
    error::Error,
    fs,
    io::{self, Write},
};

use chartmesh_identity::Recipient;
use chartmesh_sealing::{Identity, Packer, open, parse_recipient, recipient_to_text, seal, seal_document};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut out = io::stdout().lock();
    match arguments.as_slice() {
        ["keygen"] => writeln!(out, "{}", *Identity::generate().to_bech32())?,
        ["recipient", identity] => writeln!(out, "{}", recipient_to_text(read_identity(identity)?.recipient()))?,
        ["seal", file, recipient] => out.write_all(&seal(&fs::read(file)?, &read_recipient(recipient)?)?.bytes)?,
        ["open", file, identity] => out.write_all(&open(&fs::read(file)?, &read_identity(identity)?)?)?,
        ["document", file, recipient] => {
            let content = fs::read(file)?;
            out.write_all(&seal_document(&content, &header::header(&content), &read_recipient(recipient)?, &mut Packer::new(3)?)?.bytes)?;
        }
        _ => return Err("keygen | recipient IDENTITY-FILE | seal FILE RECIPIENT-FILE | open FILE IDENTITY-FILE | document FILE RECIPIENT-FILE".into()),
    }
    Ok(())
}

fn read_identity(file: &str) -> Result<Identity, Box<dyn Error>> {
    Ok(Identity::from_bech32(&fs::read_to_string(file)?)?)
}

fn read_recipient(file: &str) -> Result<Recipient, Box<dyn Error>> {
    Ok(parse_recipient(&fs::read_to_string(file)?)?)
}
