/**
 * @file How many threads the next graph runs on. ggml's threads wait for each other at every operator by spinning: if
 * another process holds one of their cores, all of them wait for time slices of some milliseconds, and a step takes ten
 * to thirty times as long. So threads that do not get their core are left out for a while, unless a graph takes longer
 * without them.
 */

/** What of the process is measured around a graph. */
interface Usage {
  /** Milliseconds. */
  readonly wall: number;
  /** Of all threads, milliseconds. */
  readonly cpu: number;
  /** How often the system took a core away from one of the threads. */
  readonly preempted: number;
}

export type Measure = () => Usage;

const measureProcess: Measure = () => {
  const { userCPUTime, systemCPUTime, involuntaryContextSwitches } = process.resourceUsage();
  return { wall: performance.now(), cpu: (userCPUTime + systemCPUTime) / 1e3, preempted: involuntaryContextSwitches };
};

/** Graphs shorter than this are judged together with the next ones, in milliseconds. */
const SHORTEST = 20;
/** A core was taken away where threads got less than this part of a core each, … */
const CROWDED = 0.85;
/** … and were interrupted at least so often, per second of a thread. */
const PREEMPTIONS = 30;
/** Milliseconds before more threads are tried again, doubled with each failure up to the second number, … */
const PATIENCE = [250, 4000] as const;
/** … and so many times as long as the failure took, so that trying costs a fifth of the time at most. */
const PAUSE = 5;
/**
 * A thread is left out only where the same graph takes less than this part of the time without it: where a core is
 * held, it is a fifth.
 */
const GAIN = 0.5;
/** Milliseconds for which a thread stays that was left out in vain, doubled each time up to the second number. */
const STAY = [1000, 16_000] as const;

/** How long the graphs of a judgement took each, where all were the same. */
interface Pace {
  readonly work: unknown;
  readonly ms: number;
}

const NOTHING = { wall: 0, cpu: 0, preempted: 0, graphs: 0, work: null as unknown, isMixed: false };

export class ThreadCount {
  readonly #most: number;
  readonly #measure: Measure;
  #now: number;
  #start: Usage;
  /** Since the last judgement. */
  #sum = { ...NOTHING };
  #patience: number = PATIENCE[0];
  #retryAt = 0;
  #work: unknown = null;
  /** With the thread that was left out last; null: none was, or it was compared. */
  #before: Pace | null = null;
  #stayUntil = 0;
  /** At the last judgement. */
  #isDisturbed = false;
  #stay: number = STAY[0];

  constructor(most: number, measure: Measure = measureProcess) {
    this.#most = most;
    this.#measure = measure;
    this.#now = most;
    this.#start = measure();
  }

  /** Threads of the graph that runs now. */
  get current(): number {
    return this.#now;
  }

  /**
   * To be called before a graph.
   * @param work graphs of which the same is given take the same time on the same threads.
   */
  next(work: unknown): number {
    this.#work = work;
    this.#start = this.#measure();
    if (this.#now < this.#most && this.#start.wall >= this.#retryAt) {
      this.#now++;
      this.#before = null;
      this.#sum = { ...NOTHING };
    }
    return this.#now;
  }

  /** To be called after it. */
  done(): void {
    if (this.#most === 1) return;
    const end = this.#measure();
    const sum = this.#sum;
    sum.wall += end.wall - this.#start.wall;
    sum.cpu += end.cpu - this.#start.cpu;
    sum.preempted += end.preempted - this.#start.preempted;
    if (sum.graphs++ === 0) sum.work = this.#work;
    else if (sum.work !== this.#work) sum.isMixed = true;
    if (sum.wall >= SHORTEST) this.#judge(end.wall);
  }

  #judge(time: number): void {
    const { wall, cpu, preempted, graphs, work, isMixed } = this.#sum;
    this.#sum = { ...NOTHING };
    const before = this.#before;
    const isCrowded = cpu / wall < CROWDED * this.#now && preempted / (cpu / 1e3) > PREEMPTIONS;
    const wasDisturbed = this.#isDisturbed;
    this.#isDisturbed = isCrowded;
    // Steps and chunks of a prompt may alternate: the next of the same work is compared.
    if (before && !isMixed && work === before.work) {
      this.#before = null;
      if (!isCrowded && wall / graphs > GAIN * before.ms) {
        this.#now++;
        this.#stayUntil = time + this.#stay;
        this.#stay = Math.min(2 * this.#stay, STAY[1]);
        return;
      }
      this.#stay = STAY[0];
    }
    if (this.#now === 1 || time < this.#stayUntil) return;
    if (isCrowded) {
      // One disturbance of 60 ms cost the steps of half a second.
      const isRetry = this.#patience > PATIENCE[0];
      if (!isRetry && !wasDisturbed) return;
      this.#now--;
      this.#before = isMixed ? null : { work, ms: wall / graphs };
      this.#retryAt = time + Math.max(this.#patience, PAUSE * wall);
      this.#patience = Math.min(2 * this.#patience, PATIENCE[1]);
    } else if (this.#now === this.#most) this.#patience = PATIENCE[0];
  }
}
