/**
 * @file Numbers of the server in Prometheus' text format. Names are vLLM's, with another prefix.
 */
import type { ModelEntry } from './model-entry.ts';
import type { TurnEnd } from './turn.ts';

const SECONDS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

class Histogram {
  readonly #counts = new Array<number>(SECONDS.length).fill(0);
  #sum = 0;
  #count = 0;

  observe(seconds: number): void {
    this.#sum += seconds;
    this.#count++;
    SECONDS.forEach((limit, i) => {
      if (seconds <= limit) this.#counts[i]++;
    });
  }

  lines(name: string, label: string): string[] {
    return [
      ...SECONDS.map((limit, i) => `${name}_bucket{${label},le="${limit}"} ${this.#counts[i]}`),
      `${name}_bucket{${label},le="+Inf"} ${this.#count}`,
      `${name}_sum{${label}} ${this.#sum}`,
      `${name}_count{${label}} ${this.#count}`,
    ];
  }
}

interface ModelNumbers {
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  readonly ends: Map<string, number>;
  readonly queue: Histogram;
  readonly prefill: Histogram;
  readonly whole: Histogram;
}

export class Metrics {
  readonly #models = new Map<string, ModelNumbers>();

  /** A turn has ended by itself. @param seconds from the request to its end. */
  onEnd(model: string, end: TurnEnd, seconds: number): void {
    const numbers = this.#of(model);
    numbers.promptTokens += end.usage.promptTokens;
    numbers.cachedTokens += end.usage.cachedTokens;
    numbers.completionTokens += end.usage.completionTokens;
    numbers.queue.observe(end.timings.queueMs / 1000);
    numbers.prefill.observe(end.timings.prefillMs / 1000);
    numbers.whole.observe(seconds);
    this.#count(numbers, end.finish);
  }

  /** A turn was ended. */
  onFailure(model: string, reason: 'abort' | 'error'): void {
    this.#count(this.#of(model), reason);
  }

  text(models: readonly ModelEntry[]): string {
    const lines: string[] = [];
    const add = (name: string, type: string, help: string, values: (model: ModelEntry, label: string) => string[]) => {
      lines.push(`# HELP keyhold_${name} ${help}`, `# TYPE keyhold_${name} ${type}`);
      for (const model of models) lines.push(...values(model, `model_name="${model.id.replace(/[\\"\n]/g, '_')}"`));
    };
    const one = (name: string, value: (model: ModelEntry) => number) => (model: ModelEntry, label: string) => [
      `keyhold_${name}{${label}} ${value(model)}`,
    ];
    const counter = (name: string, help: string, key: 'promptTokens' | 'cachedTokens' | 'completionTokens') =>
      add(
        name,
        'counter',
        help,
        one(name, ({ id }) => this.#of(id)[key]),
      );
    const histogram = (name: string, help: string, key: 'queue' | 'prefill' | 'whole') =>
      add(name, 'histogram', help, ({ id }, label) => this.#of(id)[key].lines(`keyhold_${name}`, label));
    add(
      'model_loaded',
      'gauge',
      'Whether the model is in memory.',
      one('model_loaded', ({ loaded }) => (loaded ? 1 : 0)),
    );
    add(
      'num_requests_running',
      'gauge',
      'Requests that have a row.',
      one('num_requests_running', ({ loaded }) => loaded?.queue.running ?? 0),
    );
    add(
      'num_requests_waiting',
      'gauge',
      'Requests that wait for a row.',
      one('num_requests_waiting', ({ loaded }) => loaded?.queue.waiting ?? 0),
    );
    add(
      'num_sessions',
      'gauge',
      'Caches of sessions in memory.',
      one('num_sessions', ({ loaded }) => loaded?.sessions.count ?? 0),
    );
    add(
      'engine_restarts_total',
      'counter',
      'Times that the engine was started again.',
      one('engine_restarts_total', ({ loaded }) => loaded?.restarts ?? 0),
    );
    counter('prompt_tokens_total', 'Tokens of prompts.', 'promptTokens');
    counter('prefix_cache_hits_total', 'Tokens of prompts that a cache had seen.', 'cachedTokens');
    counter('generation_tokens_total', 'Tokens of answers.', 'completionTokens');
    add('request_success_total', 'counter', 'Requests by how they ended.', ({ id }, label) =>
      [...this.#of(id).ends].map(
        ([reason, count]) => `keyhold_request_success_total{${label},finished_reason="${reason}"} ${count}`,
      ),
    );
    histogram('request_queue_time_seconds', 'Time in the queue.', 'queue');
    histogram('request_prefill_time_seconds', 'Time for the prompt.', 'prefill');
    histogram('e2e_request_latency_seconds', 'Time of whole requests.', 'whole');
    return `${lines.join('\n')}\n`;
  }

  #count(numbers: ModelNumbers, reason: string): void {
    numbers.ends.set(reason, (numbers.ends.get(reason) ?? 0) + 1);
  }

  #of(model: string): ModelNumbers {
    let numbers = this.#models.get(model);
    if (!numbers) {
      const [queue, prefill, whole] = [new Histogram(), new Histogram(), new Histogram()];
      numbers = { promptTokens: 0, cachedTokens: 0, completionTokens: 0, ends: new Map(), queue, prefill, whole };
      this.#models.set(model, numbers);
    }
    return numbers;
  }
}
