/**
 * @file What the keys of a calibrated model are rounded by: the feedback of {@link roundNumbers} as text, which tables
 * and saved caches hold.
 */
import { fromBase64 } from '../../util/base64.ts';
import { InputError } from '../../util/errors.ts';
import { widenInto } from '../../util/half.ts';

/** What the keys of a query group are rounded by. */
export interface KeyRounding {
  /** The feedback of keys that are rotated: float16 in base64. */
  readonly feedback: string;
}

/** Caches of a table share what was unpacked of it. */
const unpacked = new WeakMap<KeyRounding, Float32Array>();

/**
 * @param size numbers of a key.
 * @throws InputError for what is no rounding of such keys.
 */
export function feedbackOf(rounding: KeyRounding, size: number): Float32Array {
  const count = (size * (size - 1)) / 2;
  const known = unpacked.get(rounding);
  if (known?.length === count) return known;
  const feedback = new Float32Array(count);
  try {
    const bytes = fromBase64(rounding.feedback);
    widenInto('F16', bytes, feedback);
    if (bytes.length === 2 * count) {
      unpacked.set(rounding, feedback);
      return feedback;
    }
  } catch {}
  throw new InputError(`the calibration is not of keys of ${size} numbers: calibrate anew`);
}
