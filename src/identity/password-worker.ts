import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { hashSync, verifySync } from '@node-rs/argon2';
import type { HashAnswer, HashOrder } from './password-thread.ts';

/**
 * A thread that hashes and does nothing else. On Linux a priority is a thread's own (setpriority(2)), and this one takes
 * the lowest: whoever signs in waits for processors that others need, and not the other way round.
 */
const lowest = 19;
setPriority(0, lowest);

parentPort?.on('message', (order: HashOrder) => parentPort?.postMessage(answerOf(order)));

function answerOf(order: HashOrder): HashAnswer {
  const { id, text } = order;
  try {
    if (order.kept !== null) return { id, value: verifySync(order.kept, text) };
    const { salt, ...cost } = order.cost;
    return { id, value: hashSync(text, { ...cost, salt: Buffer.from(salt) }) };
  } catch (error) {
    return { id, problem: error instanceof Error ? error.message : String(error) };
  }
}
