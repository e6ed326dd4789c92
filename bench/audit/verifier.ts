import { verifyStreams } from '../../src/audit/verify.ts';
import { systemClock } from '../../src/base/clock.ts';

/** Verifies a folder by so many threads, and says how long it took and how much memory it had at most. */
const [path, threads] = process.argv.slice(2);
const start = systemClock.monotonic();
const { status } = await verifyStreams([path!], { threads: Number(threads) });
const seconds = (systemClock.monotonic() - start) / 1000;
if (status !== 'intact') throw new Error('the bench wrote a log that does not verify');
const { maxRSS } = process.resourceUsage();
process.stdout.write(JSON.stringify({ seconds, residentBytes: maxRSS * 1024 }));
