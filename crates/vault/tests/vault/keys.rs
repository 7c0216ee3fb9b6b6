//! The key file and the halves of a vault.

use std::fs;

use chartmesh_vault::{Table, Unlock, Vault, VaultError};

use crate::home::{Home, secrets};

const WORK: u8 = 4;

#[test]
fn a_passphrase_opens_its_own_vault_and_nothing_else_does() {
    let home = Home::new();
    assert!(!Vault::exists(&home.path()));
    assert!(matches!(home.open(), Err(VaultError::Absent(_))));
    assert!(matches!(Vault::is_protected(&home.path()), Err(VaultError::Absent(_))));
    drop(Vault::create(&home.path(), secrets(b"keys"), Unlock::Passphrase("right"), WORK).unwrap());
    assert!(Vault::exists(&home.path()) && Vault::is_protected(&home.path()).unwrap());
    assert!(matches!(Vault::open(&home.path(), Unlock::Passphrase("wrong")), Err(VaultError::WrongPassphrase)));
    assert!(matches!(home.open(), Err(VaultError::PassphraseNeeded)));
    let vault = Vault::open(&home.path(), Unlock::Passphrase("right")).unwrap();
    assert_eq!(vault.secrets().expose(), b"keys");
    let file = fs::read(home.path().join("keys.age")).unwrap();
    assert!(file.starts_with(b"age-encryption.org/v1\n-> scrypt "));
}

#[test]
fn without_a_passphrase_the_file_says_so_and_a_passphrase_is_refused() {
    let home = Home::new();
    drop(home.create());
    assert!(!Vault::is_protected(&home.path()).unwrap());
    assert!(matches!(Vault::open(&home.path(), Unlock::Passphrase("x")), Err(VaultError::NotProtected)));
    assert!(fs::read(home.path().join("keys.age")).unwrap().starts_with(b"chartmesh keys WITHOUT a passphrase"));
    let empty = Home::new();
    assert!(matches!(Vault::create(&empty.path(), secrets(b""), Unlock::Passphrase(""), WORK), Err(VaultError::KeyFile(_))));
    assert!(!Vault::exists(&empty.path()));
    drop(empty.create());
}

#[test]
fn what_comes_to_light_while_a_vault_is_filled_is_written_with_it() {
    let home = Home::new();
    let mut vault = Vault::begin(&home.path(), secrets(b"first keys")).unwrap();
    vault.put(Table::Settings, b"k", b"kept").unwrap();
    vault.set_secrets(secrets(b"other keys"));
    vault.finish(Unlock::Passphrase("new"), WORK).unwrap();
    drop(vault);
    assert!(matches!(home.open(), Err(VaultError::PassphraseNeeded)));
    let vault = Vault::open(&home.path(), Unlock::Passphrase("new")).unwrap();
    assert_eq!(vault.secrets().expose(), b"other keys");
    assert_eq!(vault.get(Table::Settings, b"k").unwrap().unwrap().as_slice(), b"kept");
}

#[test]
fn a_vault_is_not_made_twice_and_half_of_one_is_named() {
    let home = Home::new();
    drop(home.create());
    assert!(matches!(Vault::create(&home.path(), secrets(b""), Unlock::None, WORK), Err(VaultError::Exists(_))));

    let (keys, store) = (home.path().join("keys.age"), home.path().join("vault"));
    fs::rename(&keys, home.path().join("elsewhere")).unwrap();
    assert!(matches!(home.open(), Err(VaultError::Incomplete { missing: "keys.age", .. })));
    assert!(matches!(Vault::create(&home.path(), secrets(b""), Unlock::None, WORK), Err(VaultError::Incomplete { .. })));
    fs::rename(home.path().join("elsewhere"), &keys).unwrap();

    fs::rename(&store, home.path().join("elsewhere")).unwrap();
    assert!(matches!(home.open(), Err(VaultError::Incomplete { missing: "the store", .. })));
    // As after a power cut between the key file and the store's last renaming.
    fs::rename(home.path().join("elsewhere"), home.path().join("vault.new")).unwrap();
    drop(home.open().unwrap());
    assert!(store.exists());
}

#[test]
fn what_an_interrupted_creation_left_is_cleared_away() {
    let home = Home::new();
    let whole = Home::new();
    drop(whole.create());
    fs::create_dir_all(home.path()).unwrap();
    fs::rename(whole.path().join("vault"), home.path().join("vault.new")).unwrap();
    fs::write(home.path().join("keys.new"), b"half a key file").unwrap();
    assert!(matches!(home.open(), Err(VaultError::Absent(_))));
    drop(home.create());
    drop(home.open().unwrap());
}

#[test]
fn keys_and_store_that_do_not_belong_together_are_noticed() {
    let (one, other) = (Home::new(), Home::new());
    drop(one.create());
    drop(other.create());
    fs::copy(one.path().join("keys.age"), other.path().join("keys.age")).unwrap();
    assert!(matches!(other.open(), Err(VaultError::OtherKeys)));
}

#[test]
fn a_damaged_key_file_is_an_error() {
    for unlock in [Unlock::None, Unlock::Passphrase("p")] {
        let home = Home::new();
        drop(Vault::create(&home.path(), secrets(b"keys"), unlock, WORK).unwrap());
        let path = home.path().join("keys.age");
        let good = fs::read(&path).unwrap();
        for len in (0..good.len()).step_by(19) {
            fs::write(&path, &good[..len]).unwrap();
            assert!(Vault::open(&home.path(), unlock).is_err(), "cut to {len} bytes");
        }
        fs::write(&path, &good).unwrap();
        drop(Vault::open(&home.path(), unlock).unwrap());
    }
}
