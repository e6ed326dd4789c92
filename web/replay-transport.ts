import type { Cast } from './asciicast.ts';
import { button, element } from './elements.ts';
import { clockText, type Playback } from './playback.ts';

/** The controls of a player. */
export type Transport = {
  readonly bar: HTMLElement;
  /** Shows the beginning, and takes keys from then on. */
  begin(): void;
  /** Shows what was there at that time, and stops. */
  jump(seconds: number): void;
};

const speeds = [0.5, 1, 2, 4, 8, 16] as const;
const stepSeconds = 5;

export function transportOf(playback: Playback, cast: Cast): Transport {
  const play = button('Play', toggle, 'play');
  const slider = element('input', {
    ...{ type: 'range', min: 0, max: Math.max(0.001, cast.seconds), step: 'any', value: 0 },
    'aria-label': 'Position',
  });
  const time = element('span', { class: 'time' });
  const speed = element(
    'select',
    { 'aria-label': 'Speed', change: () => setSpeed(Number(speed.value)) },
    ...speeds.map((value) => element('option', { value, selected: value === 1 }, `${value}×`)),
  );
  slider.addEventListener('input', () => void playback.seek(Number(slider.value)));
  function toggle(): void {
    if (playback.state.isPlaying) playback.pause();
    else void playback.play();
  }
  function setSpeed(value: number): void {
    playback.speed = value;
    speed.value = String(value);
  }
  function jump(seconds: number): void {
    playback.pause();
    void playback.seek(seconds);
  }
  function refresh(): void {
    const { seconds, isPlaying, hasEnded } = playback.state;
    const label = isPlaying ? 'Pause' : hasEnded ? 'Play again' : 'Play';
    if (play.textContent !== label) play.textContent = label;
    if (document.activeElement !== slider || !slider.matches(':active')) slider.value = String(seconds);
    const text = `${clockText(seconds)} of ${clockText(cast.seconds)}`;
    if (time.textContent === text) return;
    time.textContent = text;
    slider.setAttribute('aria-valuetext', text);
  }
  const keys: Readonly<Record<string, () => void>> = {
    ' ': toggle,
    k: toggle,
    ArrowLeft: () => void playback.seek(playback.state.seconds - stepSeconds),
    ArrowRight: () => void playback.seek(playback.state.seconds + stepSeconds),
    Home: () => void playback.seek(0),
    End: () => jump(cast.seconds),
    '>': () => setSpeed(speeds[Math.min(speeds.length - 1, speeds.indexOf(current()) + 1)]!),
    '<': () => setSpeed(speeds[Math.max(0, speeds.indexOf(current()) - 1)]!),
    '/': () => document.querySelector<HTMLElement>('input[type=search]')?.focus(),
  };
  const current = () => speeds.find((value) => value === Number(speed.value)) ?? 1;
  playback.changed = refresh;
  return {
    bar: element(
      'div',
      { class: 'transport' },
      element('div', { class: 'transport-row' }, play, slider, time, speed),
      element('small', {}, 'Keys: space plays and pauses, ← → 5 seconds, Home, End, < > speed, / search'),
    ),
    begin() {
      refresh();
      void playback.seek(0);
      play.focus();
      document.addEventListener('keydown', (event) => onKey(event, keys));
    },
    jump,
  };
}

/** Keys belong to what has the keyboard first: text is typed, buttons pressed, sliders moved. */
function onKey(event: KeyboardEvent, keys: Readonly<Record<string, () => void>>): void {
  if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector('dialog[open]') !== null)
    return;
  const target = event.target as HTMLElement;
  if (target.matches('select, input:not([type=range], [type=checkbox])')) return;
  if (event.key === ' ' && target.matches('button, a, input, summary')) return;
  if (target.matches('input[type=range]') && !['k', '<', '>', '/'].includes(event.key)) return;
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]!();
}
