for (const kept of document.querySelectorAll('script[data-figure]')) {
  const place = document.getElementById(kept.dataset.figure);
  const {data, layout, frames} = JSON.parse(kept.textContent);
  place.style.minHeight = '0';
  Plotly.newPlot(place, {data, layout, frames, config: {responsive: true, displaylogo: false}});
}
