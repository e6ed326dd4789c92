import { LogFolder, makeSignedStreams } from './signed-streams.ts';

const s = await makeSignedStreams();
using f = new LogFolder();
for (let i = 0; i < 100; i++) await f.verdict(i % 2 ? s.signed : s.growing, { kept: s.kept });
const t = performance.now();
for (let i = 0; i < 600; i++) await f.verdict(i % 2 ? s.signed : s.growing, { kept: s.kept });
console.log((performance.now() - t) / 600);
