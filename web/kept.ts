/**
 * @file What the browser keeps of the page over a reload: what was chosen, and the text of each model.
 */

/** One question, or one more piece of a text, and what each cache made the model write. */
export interface Turn {
  readonly given: string;
  readonly answers: Answer[];
}

export interface Answer {
  /** Its policy, or its cache where two are compared. */
  label: string;
  content: string;
  /** Why it was not finished. */
  end?: string;
}

/** What was chosen for a cache. */
export interface KeptChoice {
  readonly policy: string;
  readonly buffer: string;
  /** null: what the page suggests. */
  readonly slots: number | null;
}

/** What was chosen. */
export interface Settings {
  readonly caches: readonly KeptChoice[];
  readonly count: string;
  readonly temperature: string;
  readonly system: string;
  /** What was being written. */
  readonly draft: string;
  readonly device: string;
  /** A model of the hub that was used last. */
  readonly hub?: string;
}

/** A tab has its own texts; a new one begins with the last. A server's users may share a browser, but not their texts. */
const SHARED = import.meta.env.MODE !== 'server';
const SETTINGS = 'keyhold';

const textOf = (model: string) => `keyhold ${model}`;

/** null: there are none. */
export const readSettings = (): Settings | null => read<Settings>(SETTINGS);
export const keepSettings = (settings: Settings): void => keep(SETTINGS, settings);

/** What was written with a model. */
export function readTurns(model: string): Turn[] {
  return read<Turn[]>(textOf(model)) ?? [];
}

export function keepTurns(model: string, turns: readonly Turn[]): void {
  if (turns.length > 0) keep(textOf(model), turns);
  else for (const storage of storages()) storage.removeItem(textOf(model));
}

function read<T>(key: string): T | null {
  try {
    for (const storage of storages()) {
      const text = storage.getItem(key);
      if (text !== null) return JSON.parse(text) as T;
    }
  } catch {
    // Of another version of the page.
  }
  return null;
}

function keep(key: string, value: unknown): void {
  for (const storage of storages())
    try {
      storage.setItem(key, JSON.stringify(value));
    } catch {
      // Full: an old text is worse than none.
      storage.removeItem(key);
    }
}

/** None where the browser keeps nothing. */
function storages(): Storage[] {
  try {
    return SHARED ? [sessionStorage, localStorage] : [sessionStorage];
  } catch {
    return [];
  }
}
