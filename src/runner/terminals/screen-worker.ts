import assert from 'node:assert/strict';
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../base/clock.ts';
import type { ScreenThreadData, ToScreens } from './screen-messages.ts';
import { ScreenTurns } from './screen-turns.ts';

/** The thread that draws what all terminals show: hostile output costs its time, and not the runner's. */
assert(parentPort !== null);
const port = parentPort;
const { drawing } = workerData as ScreenThreadData;
const turns = new ScreenTurns({ tell: (message) => port.postMessage(message), clock: systemClock, drawing });
port.on('message', (order: ToScreens) => turns.take(order));
