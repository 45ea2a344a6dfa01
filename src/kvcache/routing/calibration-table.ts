/**
 * @file What calibration measured of a model: how much of the past each query group reads. Policies distribute slots by it.
 */
import { InputError } from '../../util/errors.ts';
import { isObject } from '../../util/json/is-object.ts';
import { show } from '../../util/json/show.ts';
import type { KeyRounding } from '../buffers/key-rounding.ts';
import type { CacheShape } from '../shape.ts';

/** Quantiles of a group's weights. */
export const QUANTILES = 256;
/** Recent tokens that a group attends to besides {@link MEASURED_SINKS}, as local needs are measured. */
export const LOCAL_WINDOWS: readonly number[] = [4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256];
export const MEASURED_SINKS = 4;

/** Changes whenever tables could be misread. */
const VERSION = 2;

/** What was measured of a query group. */
export interface GroupCalibration {
  /**
   * Quantiles, ascending, of log z: z is the largest weight that a slot of the text gets while the text is read once
   * more, over all queries of that reading and the group's heads.
   */
  readonly retrieval: readonly number[];
  /**
   * By {@link LOCAL_WINDOWS}: mean square of what the residual stream loses where the group attends to the sinks and so
   * many recent tokens only, in parts of the mean square of the stream.
   */
  readonly local: readonly number[];
  /** What its keys are rounded by. @default each number by itself: of latent attention */
  readonly rounding?: KeyRounding;
}

/** What was measured of a model. */
export interface CalibrationTable {
  readonly version: typeof VERSION;
  /** The fingerprint of the model. */
  readonly model: string;
  /** SHA-256 of the texts. */
  readonly texts: string;
  /** Tokens of each text. */
  readonly length: number;
  /** By layer: its groups; null: it holds no slots, or a window bounds them. */
  readonly layers: readonly (readonly GroupCalibration[] | null)[];
}

export const CALIBRATION_VERSION = VERSION;

/** Checks a table that was parsed from JSON. @throws InputError for something else. */
export function readCalibrationTable(given: unknown): CalibrationTable {
  const { version, model, texts, length, layers } = objectOf(given, 'it');
  if (version !== VERSION) refuse('version', `must be ${VERSION}`, version);
  if (typeof model !== 'string') refuse('model', 'must be a string', model);
  if (typeof texts !== 'string') refuse('texts', 'must be a string', texts);
  if (!Number.isSafeInteger(length) || (length as number) < 1)
    refuse('length', 'must be a whole number from 1', length);
  const read = arrayOf(layers, 'layers').map((groups, l) =>
    groups === null ? null : arrayOf(groups, `layers.${l}`).map((group, g) => readGroup(group, `layers.${l}.${g}`)),
  );
  return { version: VERSION, model: model as string, texts: texts as string, length: length as number, layers: read };
}

function readGroup(given: unknown, where: string): GroupCalibration {
  const { retrieval, local, rounding } = objectOf(given, where);
  return {
    retrieval: numbersOf(retrieval, QUANTILES, `${where}.retrieval`),
    local: numbersOf(local, LOCAL_WINDOWS.length, `${where}.local`),
    ...(rounding !== undefined && { rounding: rounding as KeyRounding }),
  };
}

// Written by hand: a page that loads a model does without the code of a library of schemas.
function refuse(where: string, what: string, given: unknown): never {
  throw new InputError(`this is no calibration table: ${where} ${what}, but is ${show(given)}`);
}

function objectOf(given: unknown, where: string): Readonly<Record<string, unknown>> {
  return isObject(given) ? given : refuse(where, 'must be an object', given);
}

function arrayOf(given: unknown, where: string): readonly unknown[] {
  return Array.isArray(given) ? given : refuse(where, 'must be an array', given);
}

function numbersOf(given: unknown, count: number, where: string): readonly number[] {
  const numbers = arrayOf(given, where);
  if (numbers.length === count && numbers.every((each) => typeof each === 'number' && !Number.isNaN(each)))
    return numbers as readonly number[];
  return refuse(where, `must be ${count} numbers`, given);
}

/** Layers whose groups a calibration can tell apart: those that hold slots without a window. */
export function calibratedLayers({ layers }: CacheShape): number[] {
  return [...layers.keys()].filter((l) => layers[l].slots && layers[l].window === null);
}

/** The table of a model that was not measured: all groups are alike. */
export function flatTable(shape: CacheShape): CalibrationTable {
  const layers = calibratedLayers(shape);
  const group = { retrieval: new Array<number>(QUANTILES).fill(0), local: LOCAL_WINDOWS.map(() => 0) };
  return {
    version: VERSION,
    model: '',
    texts: '',
    length: 1,
    layers: shape.layers.map(({ groups }, l) => (layers.includes(l) ? new Array(groups).fill(group) : null)),
  };
}

/** @throws InputError where the table was made for a model of another shape. */
export function checkTableFits({ layers }: CalibrationTable, shape: CacheShape): void {
  const wanted = new Set(calibratedLayers(shape));
  const fits =
    layers.length === shape.layers.length &&
    layers.every((groups, l) => (groups?.length ?? 0) === (wanted.has(l) ? shape.layers[l].groups : 0));
  if (!fits)
    throw new InputError('the calibration table is of a model with other layers or groups: calibrate this one');
}
