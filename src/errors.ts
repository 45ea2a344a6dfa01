/**
 * @file The errors that Keyhold throws on purpose. Each says what was wrong, where, and what to do about it.
 */

/** The base of all errors of this library; `code` is stable and may be tested for. */
export class KeyholdError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

/** A config.json (or another settings file) that is missing something, contradicts itself, or asks for what is not supported. */
export class ConfigError extends KeyholdError {
  constructor(message: string, options?: ErrorOptions) {
    super('config', message, options);
  }
}

/** A checkpoint file that is damaged, lies about itself, or lacks tensors. */
export class CheckpointError extends KeyholdError {
  constructor(message: string, options?: ErrorOptions) {
    super('checkpoint', message, options);
  }
}

/** The hub refused, was not reached, or sent something else than it announced. */
export class HubError extends KeyholdError {
  /** HTTP status, where there was one. */
  readonly status: number | undefined;
  constructor(message: string, status?: number, options?: ErrorOptions) {
    super('hub', message, options);
    this.status = status;
  }
}

/** The folder of prepared weights can't be written or read (no space, no permission). */
export class WeightsError extends KeyholdError {
  constructor(message: string, options?: ErrorOptions) {
    super('weights', message, options);
  }
}

/** A tokenizer that can't be read, or does not belong to the model. */
export class TokenizerError extends KeyholdError {
  constructor(message: string, options?: ErrorOptions) {
    super('tokenizer', message, options);
  }
}

/** Something the caller passed in: an empty prompt, a token id out of range, an option out of bounds. */
export class InputError extends KeyholdError {
  constructor(message: string, options?: ErrorOptions) {
    super('input', message, options);
  }
}

/** The model's graph could not be built or run; a defect of this library or of the runtime rather than of the input. */
export class GraphError extends KeyholdError {
  constructor(message: string, options?: ErrorOptions) {
    super('graph', message, options);
  }
}

/** A dense cache has no slot left. It never drops a token: use a larger `cacheLength`, or a policy that evicts. */
export class CacheFullError extends KeyholdError {
  constructor(message: string, options?: ErrorOptions) {
    super('cache-full', message, options);
  }
}

/** A saved cache that is torn, of another program or version, or of another model. */
export class SnapshotError extends KeyholdError {
  constructor(message: string, options?: ErrorOptions) {
    super('snapshot', message, options);
  }
}

/** The thread that a model lived in has crashed, or was ended: its model and caches are gone. Load the model again. */
export class WorkerError extends KeyholdError {
  constructor(message: string, options?: ErrorOptions) {
    super('worker', message, options);
  }
}
