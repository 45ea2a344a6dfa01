/**
 * @file Dates as Python's `strftime` writes them, in English and local time.
 */
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];
const DAY_MS = 86_400_000;

/** Whole days since a time that does not matter, without shifts by daylight saving. */
const dayNumber = (date: Date): number => Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / DAY_MS;
const dayOfYear = (date: Date): number => dayNumber(date) - dayNumber(new Date(date.getFullYear(), 0, 1)) + 1;

/** Year and number of the ISO week, which begins on Monday and belongs to the year of its Thursday. */
function isoWeek(date: Date): { readonly year: number; readonly week: number } {
  const thursday = new Date(date.getFullYear(), date.getMonth(), date.getDate() + 3 - ((date.getDay() + 6) % 7));
  return { year: thursday.getFullYear(), week: Math.floor((dayOfYear(thursday) - 1) / 7) + 1 };
}

const twelve = (date: Date): number => date.getHours() % 12 || 12;

/** Each number with its width and what it is filled with. */
const NUMBERS: Readonly<Record<string, readonly [value: (date: Date) => number, width: number, fill: '0' | ' ']>> = {
  d: [(date) => date.getDate(), 2, '0'],
  e: [(date) => date.getDate(), 2, ' '],
  m: [(date) => date.getMonth() + 1, 2, '0'],
  y: [(date) => date.getFullYear() % 100, 2, '0'],
  Y: [(date) => date.getFullYear(), 1, '0'],
  C: [(date) => Math.floor(date.getFullYear() / 100), 2, '0'],
  H: [(date) => date.getHours(), 2, '0'],
  k: [(date) => date.getHours(), 2, ' '],
  I: [twelve, 2, '0'],
  l: [twelve, 2, ' '],
  M: [(date) => date.getMinutes(), 2, '0'],
  S: [(date) => date.getSeconds(), 2, '0'],
  f: [(date) => date.getMilliseconds() * 1000, 6, '0'],
  j: [dayOfYear, 3, '0'],
  U: [(date) => Math.floor((dayOfYear(date) + 6 - date.getDay()) / 7), 2, '0'],
  W: [(date) => Math.floor((dayOfYear(date) + 6 - ((date.getDay() + 6) % 7)) / 7), 2, '0'],
  V: [(date) => isoWeek(date).week, 2, '0'],
  G: [(date) => isoWeek(date).year, 1, '0'],
  g: [(date) => isoWeek(date).year % 100, 2, '0'],
  u: [(date) => date.getDay() || 7, 1, '0'],
  w: [(date) => date.getDay(), 1, '0'],
  s: [(date) => Math.floor(date.getTime() / 1000), 1, '0'],
};

const TEXTS: Readonly<Record<string, (date: Date) => string>> = {
  a: (date) => DAYS[date.getDay()].slice(0, 3),
  A: (date) => DAYS[date.getDay()],
  b: (date) => MONTHS[date.getMonth()].slice(0, 3),
  h: (date) => MONTHS[date.getMonth()].slice(0, 3),
  B: (date) => MONTHS[date.getMonth()],
  p: (date) => (date.getHours() < 12 ? 'AM' : 'PM'),
  P: (date) => (date.getHours() < 12 ? 'am' : 'pm'),
  c: (date) => strftime(date, '%a %b %e %H:%M:%S %Y'),
  x: (date) => strftime(date, '%m/%d/%y'),
  X: (date) => strftime(date, '%H:%M:%S'),
  D: (date) => strftime(date, '%m/%d/%y'),
  F: (date) => strftime(date, '%Y-%m-%d'),
  T: (date) => strftime(date, '%H:%M:%S'),
  R: (date) => strftime(date, '%H:%M'),
  r: (date) => strftime(date, '%I:%M:%S %p'),
  n: () => '\n',
  t: () => '\t',
  // A time without a zone has none to write.
  z: () => '',
  Z: () => '',
  '%': () => '%',
};

/**
 * With glibc's flags: `-` does not fill, `_` fills with spaces, `0` with zeros, `^` and `#` change the case. Unknown
 * codes stay.
 */
export function strftime(date: Date, format: string): string {
  return format.replace(/%([-_0^#]?)([a-zA-Z%])/g, (whole, flag: string, code: string) => {
    if (Object.hasOwn(NUMBERS, code)) {
      const [value, width, fill] = NUMBERS[code];
      const text = String(value(date));
      return flag === '-' ? text : text.padStart(width, flag === '_' ? ' ' : flag === '0' ? '0' : fill);
    }
    if (!Object.hasOwn(TEXTS, code)) return whole;
    const text = TEXTS[code](date);
    return flag === '^'
      ? text.toUpperCase()
      : flag === '#'
        ? code === 'p'
          ? text.toLowerCase()
          : text.toUpperCase()
        : text;
  });
}
