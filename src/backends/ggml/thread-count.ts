/**
 * @file How many threads the next graph runs on. ggml's threads wait for each other at every operator by spinning: if another process holds
 * one of their cores, all of them wait for time slices of some milliseconds, and a step takes ten to thirty times as long. So
 * threads that do not get their core are left out for a while.
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
/** … and so many times as long as the failure took, so that trying costs a twentieth of the time at most. */
const PAUSE = 20;

export class ThreadCount {
  readonly #most: number;
  readonly #measure: Measure;
  #now: number;
  #start: Usage;
  /** Since the last judgement. */
  #sum = { wall: 0, cpu: 0, preempted: 0 };
  #patience: number = PATIENCE[0];
  #retryAt = 0;

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

  /** To be called before a graph. */
  next(): number {
    this.#start = this.#measure();
    if (this.#now < this.#most && this.#start.wall >= this.#retryAt) {
      this.#now++;
      this.#sum = { wall: 0, cpu: 0, preempted: 0 };
    }
    return this.#now;
  }

  /** To be called after it. */
  done(): void {
    if (this.#most === 1) return;
    const end = this.#measure();
    this.#sum.wall += end.wall - this.#start.wall;
    this.#sum.cpu += end.cpu - this.#start.cpu;
    this.#sum.preempted += end.preempted - this.#start.preempted;
    const { wall, cpu, preempted } = this.#sum;
    if (wall < SHORTEST) return;
    this.#sum = { wall: 0, cpu: 0, preempted: 0 };
    if (this.#now === 1) return;
    const isCrowded = cpu / wall < CROWDED * this.#now && preempted / (cpu / 1e3) > PREEMPTIONS;
    if (isCrowded) {
      this.#now--;
      this.#retryAt = end.wall + Math.max(this.#patience, PAUSE * wall);
      this.#patience = Math.min(2 * this.#patience, PATIENCE[1]);
    } else if (this.#now === this.#most) this.#patience = PATIENCE[0];
  }
}
