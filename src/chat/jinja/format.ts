/**
 * @file Python's two ways to format: `'%s' % value` and `'{}'.format(value)`.
 */
import { JinjaError } from './errors.ts';
import { isFloat, isNumeric, type Kwargs, lengthOf, numberOf, Tuple, typeName, type Value } from './values.ts';
import { floatText, repr, str } from './write.ts';

/** Wider fields are no text for a prompt. */
const MAX_WIDTH = 10_000;

const PERCENT = /%(?:\(([^)]*)\))?([-+ #0]*)(\d*)(?:\.(\d+))?([a-zA-Z%])/g;

export function formatPercent(text: string, given: Value): string {
  const values = given instanceof Tuple ? [...given] : [given];
  let used = 0;
  const result = text.replace(PERCENT, (_, key: string | undefined, flags, width, precision, type) => {
    if (type === '%') return '%';
    let value: Value | undefined;
    if (key !== undefined) value = given instanceof Map ? given.get(key) : undefined;
    else value = values[used++];
    if (value === undefined) throw new JinjaError('TypeError: not enough arguments for format string');
    const zero = flags.includes('0') && !'sr'.includes(type);
    const sign = flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '-';
    return padded(typed(value, type, precision === undefined ? null : Number(precision), sign), {
      width: Number(width),
      align: flags.includes('-') ? '<' : zero ? '=' : '>',
      fill: zero ? '0' : ' ',
    });
  });
  if (used < values.length && !(given instanceof Map))
    throw new JinjaError('TypeError: not all arguments converted during string formatting');
  return result;
}

export function formatBraces(text: string, args: readonly Value[], kwargs: Kwargs): string {
  let next = 0;
  return text.replace(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g, (whole, field: string | undefined) => {
    if (whole === '{{' || whole === '}}') return whole[0];
    if (field === undefined) throw new JinjaError(`ValueError: single '${whole}' in format string`);
    const [, path, conversion, spec] = /^([^!:]*)(?:!([rs]))?(?::(.*))?$/s.exec(field) ?? [];
    if (path === undefined) throw new JinjaError(`ValueError: the format '{${field}}' is not supported`);
    const key = path === '' ? String(next++) : path;
    const value = /^\d+$/.test(key) ? args[Number(key)] : kwargs.get(key);
    if (value === undefined) throw new JinjaError(`KeyError: format() has no value for '{${field}}'`);
    return withSpec(conversion === 'r' ? repr(value) : conversion === 's' ? str(value) : value, spec ?? '');
  });
}

const SPEC = /^(?:(.)?([<>=^]))?([-+ ])?(0)?(\d*)(,|_)?(?:\.(\d+))?([a-zA-Z%])?$/su;

function withSpec(value: Value, spec: string): string {
  if (spec === '') return str(value);
  const match = SPEC.exec(spec);
  if (!match) throw new JinjaError(`ValueError: the format ':${spec}' is not supported`);
  const [, fill, align, sign = '-', zero, width, group, precision, type] = match;
  const isNumber = isNumeric(value) && typeof value !== 'boolean';
  let text = typed(value, type ?? (isNumber ? '' : 's'), precision === undefined ? null : Number(precision), sign);
  if (group)
    text = text.replace(/^([^\d]*)(\d+)/, (_, start, digits) => start + digits.replace(/\B(?=(\d{3})+$)/g, group));
  return padded(text, {
    width: Number(width),
    align: align ?? (zero ? '=' : isNumber ? '>' : '<'),
    fill: fill ?? (zero ? '0' : ' '),
  });
}

function typed(value: Value, type: string, precision: number | null, sign: string): string {
  if (type === 's') return precision === null ? str(value) : Array.from(str(value)).slice(0, precision).join('');
  if (type === 'r') return repr(value);
  if (type === 'c' && typeof value === 'string') return value;
  const number = numberOf(value, `a number for the format '${type}'`);
  const size = Math.abs(number);
  const start = number < 0 || Object.is(number, -0) ? '-' : sign === '-' ? '' : sign;
  return start + digits(value, size, type, precision);
}

function digits(value: Value, size: number, type: string, precision: number | null): string {
  const exponent = (text: string) => text.replace(/e([+-])(\d)$/, 'e$10$2');
  switch (type) {
    case '':
      if (precision === null) return isFloat(value) ? floatText(size) : String(size);
      return exponent(String(Number(size.toPrecision(precision || 1))));
    case 'd':
    case 'i':
    case 'u':
      return String(Math.trunc(size));
    case 'f':
    case 'F':
      return size.toFixed(Math.min(precision ?? 6, 100));
    case 'e':
    case 'E': {
      const text = exponent(size.toExponential(Math.min(precision ?? 6, 100)));
      return type === 'E' ? text.toUpperCase() : text;
    }
    case 'g':
    case 'G':
      return exponent(String(Number(size.toPrecision(Math.min(precision || 6, 100)))));
    case '%':
      return `${(size * 100).toFixed(Math.min(precision ?? 6, 100))}%`;
    case 'x':
      return size.toString(16);
    case 'X':
      return size.toString(16).toUpperCase();
    case 'o':
      return size.toString(8);
    case 'b':
      return size.toString(2);
  }
  throw new JinjaError(`ValueError: unsupported format '${type}' for ${typeName(value)}`);
}

function padded(
  text: string,
  field: { readonly width: number; readonly align: string; readonly fill: string },
): string {
  if (field.width > MAX_WIDTH) throw new JinjaError(`a field of ${field.width} characters is too wide`);
  const count = Math.max(0, field.width - lengthOf(text));
  if (count === 0) return text;
  const fill = field.fill.repeat(count);
  if (field.align === '<') return text + fill;
  if (field.align === '=') return text.replace(/^[-+ ]?/, (sign) => sign + fill);
  if (field.align === '>') return fill + text;
  const left = Math.floor(count / 2);
  return field.fill.repeat(left) + text + field.fill.repeat(count - left);
}
