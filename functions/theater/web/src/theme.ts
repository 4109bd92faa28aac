// Dark, light, or as the system says; the choice stays in this browser.

import { text } from './dom';

type Theme = 'system' | 'light' | 'dark';

const storage = 'lrcp-theme';
const order: Theme[] = ['system', 'light', 'dark'];
const names: Record<Theme, string> = { system: 'Theme: system', light: 'Theme: light', dark: 'Theme: dark' };

export function startTheme(button: HTMLButtonElement, changed: () => void): void {
  let theme = (localStorage.getItem(storage) as Theme | null) ?? 'system';
  if (!order.includes(theme)) theme = 'system';
  const apply = () => {
    if (theme === 'system') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
    text(button, names[theme]);
    changed();
  };
  button.addEventListener('click', () => {
    theme = order[(order.indexOf(theme) + 1) % order.length] ?? 'system';
    localStorage.setItem(storage, theme);
    apply();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
  apply();
}
