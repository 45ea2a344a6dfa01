/**
 * @file The characters that stand for bytes in byte-level vocabularies, and `<0x0A>` in others.
 */

/** By byte: printable characters of Latin-1 stand for themselves, the others for U+0100 and on. */
const BYTE_CHARS: readonly string[] = byteChars();
/** By code of the character; -1: it stands for no byte. */
const CHAR_BYTES = new Int16Array(0x200).fill(-1);
BYTE_CHARS.forEach((char, byte) => {
  CHAR_BYTES[char.charCodeAt(0)] = byte;
});
const encoder = new TextEncoder();

function byteChars(): string[] {
  const isPrintable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}

/** A text with a character for each of its bytes. */
export function toByteChars(text: string): string {
  let out = '';
  for (const byte of encoder.encode(text)) out += BYTE_CHARS[byte];
  return out;
}

/** The bytes of a token; a token with other characters is written as it is. */
export function bytesOfToken(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = CHAR_BYTES[token.charCodeAt(i)] ?? -1;
    if (byte < 0) return encoder.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}

/** The tokens of a text's bytes, as `<0x0A>`. */
export function byteTokens(text: string): string[] {
  return Array.from(encoder.encode(text), (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
}

/** The byte of a token such as `<0x0A>`; undefined for others. */
export function byteOfToken(token: string): number | undefined {
  return /^<0x[\dA-Fa-f]{2}>$/.test(token) ? Number.parseInt(token.slice(3, 5), 16) : undefined;
}
