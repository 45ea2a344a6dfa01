/**
 * @file The calibrations of one model: each is measured once, and kept.
 */
import { type CalibrationTable, readCalibrationTable } from '../../kvcache/routing/calibration-table.ts';
import { Serial } from '../../util/serial.ts';
import { sha256 } from '../../util/sha256.ts';
import type { CalibratedModel, CalibrateOptions } from './calibrate.ts';

/** Where tables are kept. Names are those of files, too. */
export interface CalibrationStore {
  /** null: there is none of this name. */
  read(name: string): Promise<unknown>;
  /** The same at once, where that is possible. @throws where it can't be read. */
  readonly readNow?: (name: string) => unknown;
  write(name: string, table: CalibrationTable): Promise<void>;
}

/** What a table is kept under. */
function calibrationName(checkpoint: string, texts: string, length: number): string {
  return sha256(new TextEncoder().encode(JSON.stringify([checkpoint, texts, length])));
}

/** What the table is kept under that was asked for last. */
const latestName = (checkpoint: string): string => calibrationName(checkpoint, 'latest', 0);

/** The table of a checkpoint that was made or used last; null: none is kept. */
export function keptLatest(store: CalibrationStore, checkpoint: string): Promise<CalibrationTable | null> {
  return keptTable(store, latestName(checkpoint), checkpoint);
}

/** null where there is none, or a damaged one: it is measured again, and written over. */
async function keptTable(
  store: CalibrationStore | null,
  name: string,
  checkpoint: string,
): Promise<CalibrationTable | null> {
  try {
    return tableOf(await store?.read(name), checkpoint);
  } catch {
    return null;
  }
}

/** @throws InputError for what is no table. */
function tableOf(kept: unknown, checkpoint: string): CalibrationTable | null {
  if (kept === undefined || kept === null) return null;
  const table = readCalibrationTable(kept);
  return table.model === checkpoint ? table : null;
}

export class Calibrations {
  readonly #model: Omit<CalibratedModel, 'id'>;
  readonly #checkpoint: string;
  readonly #store: CalibrationStore | null;
  readonly #known = new Map<string, CalibrationTable>();
  /** A second request for what is being measured waits for it. */
  readonly #serial = new Serial();
  #latest: CalibrationTable | null = null;

  constructor(model: Omit<CalibratedModel, 'id'>, checkpoint: string, store: CalibrationStore | null) {
    this.#model = model;
    this.#checkpoint = checkpoint;
    this.#store = store;
  }

  /** The table that was asked for last, of a process before where the store reads it at once; null: none was. */
  get latest(): CalibrationTable | null {
    this.#latest ??= this.#readNow(latestName(this.#checkpoint));
    return this.#latest;
  }

  /**
   * The table that caches without one of their own are made by: the latest of this process or of one before; otherwise
   * it is measured.
   * @param start called before it is measured.
   * @throws as {@link calibrate}.
   */
  async open(options: CalibrateOptions = {}, start?: () => void): Promise<CalibrationTable> {
    this.#latest ??= await keptTable(this.#store, latestName(this.#checkpoint), this.#checkpoint);
    if (this.#latest) return this.#latest;
    start?.();
    return this.get(options);
  }

  /** The table of these texts: known, kept, or measured now. @throws as {@link calibrate}. */
  get(options: CalibrateOptions): Promise<CalibrationTable> {
    return this.#serial.run(async () => {
      options.signal?.throwIfAborted();
      const { CALIBRATION_LENGTH, shippedTexts, textsKey } = await import('./calibrate.ts');
      const texts = options.texts ?? (await shippedTexts());
      const name = calibrationName(this.#checkpoint, textsKey(texts), options.length ?? CALIBRATION_LENGTH);
      const table =
        this.#known.get(name) ??
        (await keptTable(this.#store, name, this.#checkpoint)) ??
        (await this.#measure(name, options));
      this.#known.set(name, table);
      if (this.#latest !== table) {
        this.#latest = table;
        await this.#write(latestName(this.#checkpoint), table);
      }
      return table;
    });
  }

  #readNow(name: string): CalibrationTable | null {
    try {
      return tableOf(this.#store?.readNow?.(name), this.#checkpoint);
    } catch {
      return null;
    }
  }

  async #measure(name: string, options: CalibrateOptions): Promise<CalibrationTable> {
    const { config, tokenizer } = this.#model;
    const measured: CalibratedModel = {
      id: this.#checkpoint,
      config,
      tokenizer,
      createCache: (given) => this.#model.createCache(given),
      step: (cache, chunk, given) => this.#model.step(cache, chunk, given),
      projection: (layer) => this.#model.projection(layer),
    };
    const { calibrate } = await import('./calibrate.ts');
    const table = await calibrate(measured, options);
    await this.#write(name, table);
    return table;
  }

  /** A folder that can't be written costs another calibration in the next process, and nothing in this one. */
  async #write(name: string, table: CalibrationTable): Promise<void> {
    await this.#store?.write(name, table).catch(() => undefined);
  }
}
