/**
 * @file What one run of the memory benchmark is to do.
 */
import { readFileSync } from 'node:fs';
import type { WeightFormat } from '../src/exports/checkpoint.ts';
import type { AnyCacheOptions } from '../src/exports/policies.ts';
import { type ShapeConfig, shapes } from './shapes.ts';

export interface MemoryJob {
  /** A key of `shapes`, or {@link SMALL}. */
  readonly shape: string;
  readonly weights: WeightFormat;
  readonly cache: AnyCacheOptions;
  readonly tokens: number;
  readonly decode: number;
  readonly chunkLength: number;
  readonly threads?: number;
  /** Where prepared weights are. */
  readonly folder: string;
  /** Prepare the weights, and no more: a process that does has had more memory than one that finds them. */
  readonly prepareOnly?: boolean;
}

/** The shape of the model that comes along. */
export const SMALL = 'models/tiny';

export function shapeOf(name: string): ShapeConfig {
  return name === SMALL ? (JSON.parse(readFileSync(`${SMALL}/config.json`, 'utf8')) as ShapeConfig) : shapes[name]!;
}
