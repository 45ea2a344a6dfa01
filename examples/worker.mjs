// A model in a thread of its own: while it computes, timers and servers of this thread go on.
import { loadModelInWorker } from 'keyhold';

const model = await loadModelInWorker('keyhold/tiny', { threads: 1 });
let ticks = 0;
const timer = setInterval(() => ticks++, 5);
try {
  const [one, two] = await Promise.all([
    model.generate('And it came to pass', { maxNewTokens: 30 }).text(),
    model.generate('In the beginning', { maxNewTokens: 30 }).text(),
  ]);
  console.log(one, two);
  console.log(`meanwhile this thread did something else ${ticks} times`);
} finally {
  clearInterval(timer);
  await model.dispose();
}
