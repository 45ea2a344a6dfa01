/**
 * @file Sets of characters, as regular expressions name them.
 */

/** Whether a code point is in the set. */
export type CharSet = (code: number) => boolean;

const PROPERTIES = new Map<string, RegExp>();

/** The set of a Unicode property: a general category, a binary property or a script. Undefined where there is none. */
export function property(name: string): CharSet | undefined {
  const plain = name.trim().replaceAll(' ', '_');
  for (const form of [plain, `Script=${plain}`, plain[0].toUpperCase() + plain.slice(1)]) {
    let pattern = PROPERTIES.get(form);
    try {
      pattern ??= new RegExp(`^\\p{${form}}$`, 'u');
    } catch {
      continue;
    }
    PROPERTIES.set(form, pattern);
    return (code) => pattern.test(String.fromCodePoint(code));
  }
  return POSIX[plain.toLowerCase()];
}

const need = (name: string): CharSet => property(name)!;
export const not =
  (set: CharSet): CharSet =>
  (code) =>
    !set(code);
export const anyOf =
  (sets: readonly CharSet[]): CharSet =>
  (code) =>
    sets.some((set) => set(code));
export const allOf =
  (sets: readonly CharSet[]): CharSet =>
  (code) =>
    sets.every((set) => set(code));
export const between =
  (first: number, last: number): CharSet =>
  (code) =>
    code >= first && code <= last;
export const single = (wanted: number): CharSet => between(wanted, wanted);

const isDigit: CharSet = (code) => need('Nd')(code);
const isSpace: CharSet = (code) => need('White_Space')(code);
const isWord: CharSet = (code) => ['L', 'M', 'Nd', 'Pc'].some((name) => need(name)(code));
const isHex = anyOf([between(48, 57), between(65, 70), between(97, 102)]);
export const isWordChar = isWord;

const POSIX: Readonly<Record<string, CharSet>> = {
  alpha: (code) => need('Alphabetic')(code),
  digit: isDigit,
  alnum: (code) => need('Alphabetic')(code) || isDigit(code),
  upper: (code) => need('Uppercase')(code),
  lower: (code) => need('Lowercase')(code),
  space: isSpace,
  blank: (code) => code === 9 || need('Zs')(code),
  punct: (code) => need('P')(code) || (code < 128 && need('S')(code)),
  cntrl: (code) => need('Cc')(code),
  xdigit: isHex,
  word: isWord,
  ascii: between(0, 127),
};
export const posixSet = (name: string): CharSet | undefined => POSIX[name];

/** The sets of `\d`, `\s`, … */
export const CLASSES: Readonly<Record<string, CharSet>> = {
  d: isDigit,
  D: not(isDigit),
  s: isSpace,
  S: not(isSpace),
  w: isWord,
  W: not(isWord),
  h: isHex,
  H: not(isHex),
};

/** The set without regard to case. */
export function ignoringCase(set: CharSet): CharSet {
  return (code) => {
    if (set(code)) return true;
    const char = String.fromCodePoint(code);
    const [lower, upper] = [char.toLowerCase(), char.toUpperCase()];
    return [lower, upper, upper.toLowerCase()].some(
      (form) => form !== char && Array.from(form).length === 1 && set(form.codePointAt(0)!),
    );
  };
}
