-- Images of a job. ARGV: job, then image, name, ...
local job = ARGV[1]
local cancelled = is_cancelled(job)
for i = 2, #ARGV, 2 do
  local row = load_row(job, ARGV[i])
  row.name = better_name(row.name, ARGV[i + 1])
  settle(job, ARGV[i], row, cancelled)
end
changed(job)
return 1
