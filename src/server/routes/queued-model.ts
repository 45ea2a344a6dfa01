/**
 * @file Models that write no text: they embed texts, or rank them.
 */
import type { TextTokenizer } from '../../engine/text-model.ts';
import { checkOptionsObject } from '../../util/option-names.ts';
import { HttpError } from '../http-error.ts';
import { findNamed, type ModelEntry, type NamedModel, namesOf } from '../model-entry.ts';
import { FairQueue } from '../queue.ts';

/** What all models of this kind have. */
export interface TaskModel {
  /** Its name, and the tokens that a text may have. */
  readonly config: { readonly name: string; readonly contextLength: number };
  readonly tokenizer: TextTokenizer;
}

/** How a model that embeds or ranks is served. */
export interface QueuedModelOptions {
  /** What clients call it: the field `model` of their requests. */
  readonly id: string;
  /** Largest number of requests that wait; the server refuses more with status 429. */
  readonly queue: number;
  /** Milliseconds that a request waits at most; it is then refused with status 503. */
  readonly queueMs: number;
}

/** A model that answers one request at a time. */
export class QueuedModel<Model extends TaskModel = TaskModel> {
  /** What clients call it. */
  readonly id: string;
  /** What embeds or ranks. */
  readonly model: Model;
  /** Requests that wait. */
  readonly queue: FairQueue;
  /** Seconds since 1970. */
  readonly created = Math.floor(Date.now() / 1000);

  /** @throws InputError for options that are missing. */
  constructor(model: Model, options: QueuedModelOptions) {
    checkOptionsObject('a ServedEncoder or ServedReranker', options, ['id', 'queue', 'queueMs']);
    const { id, queue, queueMs } = options;
    this.id = id;
    this.model = model;
    this.queue = new FairQueue(1, queue, queueMs);
  }

  /** Does something when the requests before it are done. @throws HttpError of the queue; the signal's reason. */
  protected async inTurn<T>(key: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const release = await this.queue.enter(key, signal);
    try {
      return await work();
    } finally {
      release();
    }
  }
}

/** What models of a kind do. */
export interface Task<Served extends QueuedModel = QueuedModel> {
  readonly name: string;
  readonly models: readonly Served[];
  /** Such as "embeds texts". */
  readonly does: string;
  readonly route: string;
  /** The option of `keyhold serve`. */
  readonly option: string;
}

const wrongModel = (message: string) => new HttpError(404, message, { code: 'model_not_found', param: 'model' });

const isNamed =
  (name: string) =>
  ({ id }: { readonly id: string }) =>
    id === name;

/**
 * The model of a name that writes text.
 * @throws HttpError 404 that says what the model of this name does instead.
 */
export function findWriter(
  models: readonly ModelEntry[],
  tasks: readonly Task[],
  name: string,
  key: string,
): NamedModel {
  const other = tasks.find((task) => task.models.some(isNamed(name)));
  if (other && !models.some(isNamed(name))) throw wrongModel(`the model "${name}" ${other.does}: POST ${other.route}`);
  return findNamed(namesOf(models, key), name);
}

/**
 * The model of a name for a task.
 * @throws HttpError 404 that says what the model of this name does instead.
 */
export function findForTask<Served extends QueuedModel>(
  task: Task<Served>,
  writers: Iterable<{ readonly id: string }>,
  tasks: readonly Task[],
  name: string,
): Served {
  const found = task.models.find(isNamed(name));
  if (found) return found;
  const none = `models for ${task.name} are served with ${task.option}`;
  const other = tasks.find((each) => each.models.some(isNamed(name)));
  const does = other?.does ?? ([...writers].some(isNamed(name)) ? 'writes texts' : null);
  if (does !== null) throw wrongModel(`the model "${name}" ${does}; ${none}`);
  return findNamed(task.models, name, none);
}
