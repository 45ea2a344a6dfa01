/**
 * @file What each token adds to a text, as bytes of UTF-8.
 */
import { byteOfToken, bytesOfToken } from './bytes.ts';
import { eachPart } from './check-json.ts';
import type { Decoder } from './decoders.ts';

/** Stands before a token, so that it is not the first one of a text. */
const BEFORE = 'x';

/**
 * The bytes that a token adds in the middle of a text: a part of a character, for some. Only for decoders that work in
 * pieces, see decoder-kind.ts.
 */
export function tokenBytesOf(decoderJson: unknown, decode: Decoder): (token: string) => Uint8Array {
  const kinds = new Set<unknown>();
  eachPart(decoderJson, 'decoders', (part) => kinds.add(part['type']));
  if (kinds.has('ByteLevel')) return bytesOfToken;
  const before = decode([BEFORE]).join('').length;
  const encoder = new TextEncoder();
  return (token) => {
    const byte = kinds.has('ByteFallback') ? byteOfToken(token) : undefined;
    if (byte !== undefined) return Uint8Array.of(byte);
    return encoder.encode(decode([BEFORE, token]).join('').slice(before));
  };
}
