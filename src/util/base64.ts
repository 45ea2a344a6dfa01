/**
 * @file Bytes as text, in Node and in browsers.
 */

/** Bytes that are turned into letters at once: each is an argument of a call. */
const AT_ONCE = 2 ** 13;

export function toBase64(bytes: Uint8Array): string {
  let letters = '';
  for (let at = 0; at < bytes.length; at += AT_ONCE)
    letters += String.fromCharCode(...bytes.subarray(at, at + AT_ONCE));
  return btoa(letters);
}

/** @throws DOMException for a text that is no base64. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
