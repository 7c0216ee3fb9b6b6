// Opens and seals files with age-encryption, an implementation of age that shares no code with ours.
//
//   node age.mjs keygen                          a new hybrid identity
//   node age.mjs recipient IDENTITY-FILE         its recipient
//   node age.mjs seal FILE RECIPIENT-FILE        a sealed file
//   node age.mjs open FILE IDENTITY-FILE         what is in it
//
// Everything goes to standard output.

import { readFile } from "node:fs/promises";
import { Decrypter, Encrypter, generateHybridIdentity, identityToRecipient } from "age-encryption";

const line = async (file) => (await readFile(file, "utf8")).trim();

const commands = {
  keygen: async () => `${await generateHybridIdentity()}\n`,
  recipient: async (identity) => `${await identityToRecipient(await line(identity))}\n`,
  seal: async (file, recipient) => {
    const encrypter = new Encrypter();
    encrypter.addRecipient(await line(recipient));
    return encrypter.encrypt(await readFile(file));
  },
  open: async (file, identity) => {
    const decrypter = new Decrypter();
    const identities = (await line(identity)).split("\n").filter((text) => text && !text.startsWith("#"));
    for (const text of identities) decrypter.addIdentity(text);
    return decrypter.decrypt(await readFile(file));
  },
};

const [name, ...files] = process.argv.slice(2);
const command = Object.hasOwn(commands, name ?? "") ? commands[name] : undefined;
if (!command || files.length !== command.length) {
  console.error("usage: node age.mjs keygen | recipient IDENTITY-FILE | seal FILE RECIPIENT-FILE | open FILE IDENTITY-FILE");
  process.exit(2);
}
process.stdout.write(await command(...files));
